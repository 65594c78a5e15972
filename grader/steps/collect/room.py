"""What is taken of a submission, and how much of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

from grader.tree import MAX_BYTES, MAX_FILES, MAX_NOTEBOOK


class Refused(Exception):
    """A submission, or one file of it, that is not taken; the sentence says why."""


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
    """What is left of the limits of one submission."""

    def __init__(self, expected: Collection[str], files: int = MAX_FILES, size: int = MAX_BYTES):
        self.expected, self.files, self.size, self.refused = expected, files, size, 0

    def most(self, name: str) -> int:
        """Return how many bytes this file may have."""
        return MAX_NOTEBOOK if self._is_notebook(name) else self.size

    def take(self, name: str, size: int) -> bool:
        """Account for a file of `size` bytes; return whether there was room for it."""
        if not self.files or size > self.most(name):
            self.refused += 1
            return False
        self.files -= 1
        # A notebook's outputs are not what the limit is about: large ones are dropped.
        self.size -= 0 if self._is_notebook(name) else size
        return True

    def _is_notebook(self, name: str) -> bool:
        return name.endswith(".ipynb") and PurePosixPath(name).name in self.expected
