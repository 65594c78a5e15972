"""What is taken of a submission, and how much of it."""

from __future__ import annotations

import logging
import stat
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

from grader.text import plain
from grader.tree import (
    MAX_BYTES,
    MAX_FILES,
    MAX_NOTEBOOK,
    is_leftover,
    is_programs_own,
    is_setting,
    left_out,
    summed_up,
    walk,
)

log = logging.getLogger(__name__)


class Refused(Exception):
    """A submission, or one file of it, that is not taken; the sentence says why."""


def tripped(error: Exception) -> str:
    """Return the sentence on a submission that nobody foresaw."""
    log.error("a submission could not be collected", exc_info=error)
    return f"could not be collected: {type(error).__name__}: {plain(str(error), 120)}"


@dataclass
class Collected:
    """What became of one submission."""

    student: str
    files: int = 0
    timestamp: datetime | None = None  # UTC
    notes: list[str] = field(default_factory=list)
    refused: str = ""  # why nothing was taken


def composed(text: str) -> str:
    """Return text in the Unicode form NFC: a Mac writes an accent as a character of its own, others do not."""
    return unicodedata.normalize("NFC", text)


def order(name: str, expected: Collection[str]) -> tuple[bool, int, str]:
    """Return by what a file comes before others: being expected, lying high, its name."""
    path = PurePosixPath(name)
    return path.name not in expected, len(path.parts), name


LEADS_OUT = "leads out of the folder, not taken"
NO_NAME = "no name for a file, not taken"
SPECIAL = "a link or a special file, not taken"
UNUSABLE = "its name cannot be used, not taken"
TWICE = "another file has its name, not taken"
_HIDDEN = "not taken, its name begins with a dot"
_SETTING = "not taken, a program would run it or take settings from it"
_MORE = {
    _SETTING: "files that programs take settings from, not taken",
    _HIDDEN: "names that begin with a dot, not taken",
}


class Room:
    """What is left of the limits of one submission, which files are a student's to hand in, what was left out."""

    def __init__(
        self,
        expected: Collection[str],
        files: int = MAX_FILES,
        size: int = MAX_BYTES,
        *,
        any_name: bool = False,
    ):
        """Begin with room for `files` files of `size` bytes; `any_name` is for a folder that holds a class."""
        self.expected, self.files, self.size, self.any_name = expected, files, size, any_name
        self.left: dict[str, str] = {}  # names of what was left out, and why; limits aside
        self.over: list[str] = []  # names of what exceeds the limits
        self.guessed: dict[str, str] = {}  # names whose encoding nobody says, and which one they were read in
        self._courses = {composed(name): name for name in expected}
        # Under the name of a notebook that is asked for others may lie, in any number of folders.
        self._notebooks = MAX_NOTEBOOK * sum(name.endswith(".ipynb") for name in expected)

    def named(self, path: str) -> str:
        """Return under which relative path a file is taken: composed, and as the course writes what it asks for."""
        path = composed(path)
        last = path.rpartition("/")[2]
        return path[: len(path) - len(last)] + self._courses.get(last, last)

    def wants(self, name: str) -> bool:
        """Return whether a file of this relative path may be handed in at all, before it takes any room."""
        parts = PurePosixPath(name).parts
        for depth, part in enumerate(parts, 1):
            if is_leftover(part):
                if not is_programs_own(part):
                    self.left["/".join(parts[:depth])] = _HIDDEN
                return False
        if self.any_name or (parts[-1:] and parts[-1] in self.expected):
            return True
        if is_setting(name):
            self.left[name] = _SETTING
            return False
        return True

    def notes(self) -> list[str]:
        """Return in sentences what was left out so far, and what was guessed."""
        told = []
        for why in dict.fromkeys(self.left.values()):
            same = [f"{plain(name, 80)}: {why}" for name, its in self.left.items() if its == why]
            told += summed_up(same, _MORE.get(why, f"names: {why}"))
        return told + left_out(self.over) + guesses(self.guessed)

    def most(self, name: str) -> int:
        """Return how many bytes this file may have."""
        return min(MAX_NOTEBOOK, self._notebooks) if self._is_notebook(name) else self.size

    def take(self, name: str, size: int) -> bool:
        """Account for a file of `size` bytes; return whether there was room for it."""
        if not self.files or size > self.most(name):
            self.over.append(name)
            return False
        self.files -= 1
        # A notebook's outputs are not what the limit is about: large ones are dropped.
        if self._is_notebook(name):
            self._notebooks -= size
        else:
            self.size -= size
        return True

    def _is_notebook(self, name: str) -> bool:
        return name.endswith(".ipynb") and PurePosixPath(name).name in self.expected


def guesses(names: Mapping[str, str]) -> list[str]:
    """Return the note on names that were read in a guessed encoding, by name."""
    return [
        f"{plain(name, 80)}: this name is not marked as Unicode and was read as {names[name]}; if it is wrong, "
        "unpack the zip file with a program that knows better, and collect the folder"
        for name in list(names)[:1]
    ]


def files_of(folder: Path, room: Room, notes: list[str]) -> dict[str, Path]:
    """Return the regular files under `folder` for which there is room, by relative name, what is expected first."""
    found: dict[str, tuple[Path, int]] = {}
    for current, folders, files in walk(folder):
        for name in [*folders, *files]:
            path = Path(current, name)
            status = path.lstat()
            relative = room.named(path.relative_to(folder).as_posix())
            is_folder = stat.S_ISDIR(status.st_mode)
            if is_leftover(name) and not room.wants(relative):
                continue
            if not is_folder and not stat.S_ISREG(status.st_mode):
                room.left[relative] = SPECIAL
            elif not is_folder and room.wants(relative):
                if relative in found:
                    room.left[path.relative_to(folder).as_posix()] = TWICE
                else:
                    found[relative] = path, status.st_size
        folders[:] = [name for name in folders if not is_leftover(name)]
    chosen = {name: path for name, (path, size) in _sorted(found, room) if room.take(name, size)}
    notes += room.notes()
    return chosen


def _sorted(found: dict[str, tuple[Path, int]], room: Room) -> list[tuple[str, tuple[Path, int]]]:
    return sorted(found.items(), key=lambda item: order(item[0], room.expected))
