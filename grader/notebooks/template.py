"""The course's own notebook as released, and what its cells are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from grader.lean import nbformat

_HIDDEN = re.compile(
    r"^[^\n]*BEGIN HIDDEN TESTS[^\n]*\n.*?^[^\n]*END HIDDEN TESTS[^\n]*(?:\n|\Z)", re.S | re.M
)


@dataclass(frozen=True)
class Template:
    """The course's notebook: nbgrader's cells with their tests whole and their solutions stubbed."""

    name: str
    cells: list[nbformat.NotebookNode]
    kernelspec: dict[str, Any]
    judges_files: bool  # a part of course.toml: its points come from modules, its code cells never run
    knows_tags: bool = True  # False where the instructor's notebook is gone: the gradebook keeps no tags


def grade_id(cell: nbformat.NotebookNode) -> str:
    """Return nbgrader's id of a cell of the course's own, or the empty string."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def is_answer(cell: nbformat.NotebookNode) -> bool:
    """Return whether the student fills this cell in."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_report(cell: nbformat.NotebookNode) -> bool:
    """Return whether a person grades this cell."""
    return is_answer(cell) and bool(cell.metadata.nbgrader.get("grade"))


def without_hidden_tests(source: str) -> str:
    """Return the source of a test cell as it was released."""
    return _HIDDEN.sub("", source)
