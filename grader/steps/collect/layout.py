"""Where in what an instructor names the students are: at its top, or in a folder that was packed around them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from grader.steps.collect.room import composed
from grader.tree import is_leftover, walk

_WRAPPINGS = 5  # folders around the class


def is_submission(path: Path) -> bool:
    """Return whether this is a folder or a zip file, and no link to one."""
    return not path.is_symlink() and (path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"))


def find_class(
    folder: Path, expected: Collection[str], pattern: re.Pattern[str], *, is_zip: bool
) -> tuple[Path, list[Path]]:
    """Return the folder that has a folder or zip file for each student, and the files beside the folders around it.

    Within `folder` may lie, alone but for files of any kind, a folder that holds the class. It is one where two of
    its folders (three, where neither a zip file nor its name speaks for it) have the same file that the assignment
    asks for, where `pattern` fits the names in it and not its
    own; in a zip file also where it has two folders or zip files and no file that is asked for.
    """
    top, here = folder, folder
    for depth in range(_WRAPPINGS):
        inside = _submissions(here)
        if len(inside) != 1 or not inside[0].is_dir() or _asked(here, expected):
            break
        here = inside[0]
        least = 2 if is_zip or here.name == folder.name else 3
        if _is_class(here, expected, pattern, least, packed=is_zip and depth == 0):
            top = here
    beside, place = [], top
    while place != folder:
        place = place.parent
        beside += [path for path in sorted(place.iterdir()) if not is_submission(path)]
    return top, [path for path in beside if not is_leftover(path.name)]


def _submissions(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not is_leftover(path.name) and is_submission(path)]


def _asked(folder: Path, expected: Collection[str]) -> bool:
    return any(composed(path.name) in map(composed, expected) for path in folder.iterdir())


def _is_class(
    folder: Path, expected: Collection[str], pattern: re.Pattern[str], least: int, *, packed: bool
) -> bool:
    inside = _submissions(folder)
    own = pattern.fullmatch(composed(folder.name)) is not None
    fits = any(pattern.fullmatch(composed(path.name if path.is_dir() else path.stem)) for path in inside)
    if own != fits or _asked(folder, expected):
        return fits and not _asked(folder, expected)
    if packed and len(inside) > 1:
        return True
    holders = Counter(name for path in inside if path.is_dir() for name in _held(path, expected))
    return max(holders.values(), default=0) >= least


def _held(folder: Path, expected: Collection[str]) -> set[str]:
    wanted, found = set(map(composed, expected)), set()
    for _, folders, files in walk(folder):
        folders[:] = [name for name in folders if not is_leftover(name)]
        found |= wanted & set(map(composed, files))
    return found
