"""What only the course's own files hold: who hands that in has named the course's repository, or got hold of it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from grader.book.keys import split_checks
from grader.book.nbgrader_course import NbCourse
from grader.book.settings import hidden_marks, solution_marks
from grader.lean import nbformat
from grader.notebooks.source import solution_regions
from grader.notebooks.template import marked
from grader.steps.collect.room import Refused
from grader.steps.secrets import squeeze, text_of
from grader.text import plain

_MOST = 16 << 20  # bytes of a file that are searched


def own_texts(course: NbCourse, assignment: str) -> list[tuple[str, str]]:
    """Return (what it is, text without line breaks) of hidden checks and tests, and of solutions with their marks.

    Released copies have no marks, so that a student who writes the same solution is none of the course's.
    """
    found = []
    source = course.path("source", ".", assignment)
    known = course.data.assignments.get(assignment) if course.data else None
    for part in known.parts.values() if known else ():
        if part.checks_hidden.is_file():
            text = part.checks_hidden.read_text(encoding="utf-8")
            functions = split_checks(text, part.checks_hidden)[1]
            found += [(f"the hidden check {name}", own) for name, own in functions.items()]
        for name in part.files:
            path = part.source / name
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            lines = text.split("\n")
            for begin, end in solution_regions(text, str(path)):
                found.append((f"the reference solution of {name}", "\n".join(lines[begin : end + 1])))
    marks = {
        "a reference solution": solution_marks(course.config),
        "hidden tests": hidden_marks(course.config),
    }
    for path in sorted(source.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            lines = cell.source.split("\n")
            for what, pair in marks.items():
                regions = ("\n".join(lines[begin : end + 1]) for begin, end in marked(cell.source, pair))
                found += [(f"{what} of {path.name}", text) for text in regions]
    return [(what, squeeze(text)) for what, text in found]


def refuse_own(texts: Collection[tuple[str, str]], files: dict[str, Path]) -> None:
    """Raise Refused where one of `files`, by their names, holds one of the course's own `texts`."""
    # A word of each text, which no file format writes otherwise; most texts begin with the same ones.
    words = (re.search(r"[A-Za-z0-9_]{4,}", own) for _, own in texts)
    hints = {word[0].encode() if word else b"" for word in words}
    for name, path in files.items():
        with path.open("rb") as file:
            data = file.read(_MOST)
        if not any(hint in data for hint in hints):
            continue
        text = squeeze(text_of(data, path.suffix == ".ipynb"))
        for what, own in texts:
            if own in text:
                raise Refused(
                    f"{plain(name, 80)} holds {what}: these are the course's own files, not a student's work"
                )
