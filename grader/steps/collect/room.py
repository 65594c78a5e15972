"""What is taken of a submission, and how much of it."""

from __future__ import annotations

import logging
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

from grader.text import plain
from grader.tree import (
    MAX_BYTES,
    MAX_FILES,
    MAX_NOTEBOOK,
    is_leftover,
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


def order(name: str, expected: Collection[str]) -> tuple[bool, int, str]:
    """Return by what a file comes before others: being expected, lying high, its name."""
    path = PurePosixPath(name)
    return path.name not in expected, len(path.parts), name


class Room:
    """What is left of the limits of one submission, and which of its files are a student's to hand in."""

    def __init__(
        self,
        expected: Collection[str],
        files: int = MAX_FILES,
        size: int = MAX_BYTES,
        *,
        any_name: bool = False,
    ):
        """Begin with room for `files` files of `size` bytes; `any_name` is for a folder that holds a class."""
        self.expected, self.files, self.size, self.refused = expected, files, size, 0
        self._any_name = any_name
        # Under the name of a notebook that is asked for others may lie, in any number of folders.
        self._notebooks = MAX_NOTEBOOK * sum(name.endswith(".ipynb") for name in expected)
        self._settings: list[str] = []

    def wants(self, name: str) -> bool:
        """Return whether a file of this relative path may be handed in at all, before it takes any room."""
        if any(map(is_leftover, PurePosixPath(name).parts)):
            return False
        if self._any_name or PurePosixPath(name).name in self.expected:
            return True
        if is_setting(name):
            self._settings.append(name)
            return False
        return True

    def notes(self) -> list[str]:
        """Return in sentences what was left out so far."""
        told = [
            f"{plain(name, 80)}: not taken, a program would run it or take settings from it"
            for name in self._settings
        ]
        return summed_up(told, "files that programs take settings from, not taken") + left_out(self.refused)

    def most(self, name: str) -> int:
        """Return how many bytes this file may have."""
        return min(MAX_NOTEBOOK, self._notebooks) if self._is_notebook(name) else self.size

    def take(self, name: str, size: int) -> bool:
        """Account for a file of `size` bytes; return whether there was room for it."""
        if not self.files or size > self.most(name):
            self.refused += 1
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


def files_of(folder: Path, room: Room, notes: list[str]) -> dict[str, Path]:
    """Return the regular files under `folder` for which there is room, by relative name, what is expected first."""
    found, special = [], []
    for current, folders, files in walk(folder):
        for name in [*folders, *files]:
            path = Path(current, name)
            status = path.lstat()
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISREG(status.st_mode):
                if room.wants(relative):
                    found.append((relative, status.st_size))
            elif not stat.S_ISDIR(status.st_mode):
                special.append(f"{plain(relative, 80)}: a link or a special file, not taken")
        folders[:] = [name for name in folders if not is_leftover(name)]
    notes += summed_up(special, "links or special files, not taken")
    chosen = {}
    for relative, size in sorted(found, key=lambda item: order(item[0], room.expected)):
        if room.take(relative, size):
            chosen[relative] = folder / relative
    notes += room.notes()
    return chosen
