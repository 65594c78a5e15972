"""The course's own notebook as released, and what its cells are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grader.lean import nbformat

Marks = tuple[str, str]  # words of the lines between which something stands that students do not get
HIDDEN: Marks = ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")  # nbgrader's own; a course may have others
SCHEME: Marks = ("BEGIN MARK SCHEME", "END MARK SCHEME")
SOLUTION: Marks = ("BEGIN SOLUTION", "END SOLUTION")


@dataclass(frozen=True)
class Template:
    """The course's notebook: nbgrader's cells with their tests whole and their solutions stubbed."""

    name: str
    cells: list[nbformat.NotebookNode]
    kernelspec: dict[str, Any]
    judges_files: bool  # a part of course.toml: its points come from modules, its code cells never run
    knows_tags: bool = True  # False where the instructor's notebook is gone: the gradebook keeps no tags
    hidden: Marks = HIDDEN
    scheme: Marks = SCHEME


def grade_id(cell: nbformat.NotebookNode) -> str:
    """Return nbgrader's id of a cell of the course's own, or the empty string."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def is_answer(cell: nbformat.NotebookNode) -> bool:
    """Return whether the student fills this cell in."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_report(cell: nbformat.NotebookNode) -> bool:
    """Return whether a person grades this cell."""
    return is_answer(cell) and bool(cell.metadata.nbgrader.get("grade"))


def marked(source: str, marks: Marks) -> Iterator[tuple[int, int]]:
    """Yield the first and the last line of each region between `marks`: lines that hold these words, as for nbgrader.

    A region without an end, which nbgrader refuses to release, ends with the text.
    """
    (begin, end), first = marks, -1
    lines = source.split("\n")
    for number, line in enumerate(lines):
        if first < 0 and begin in line:
            first = number
        elif first >= 0 and end in line:
            yield first, number
            first = -1
    if first >= 0:
        yield first, len(lines) - 1


def without(source: str, *marks: Marks) -> str:
    """Return the source of a cell as it was released: without what stands between each of `marks`."""
    for pair in marks:
        lines = source.split("\n")
        for first, last in reversed(list(marked(source, pair))):
            del lines[first : last + 1]
        source = "\n".join(lines)
    return source
