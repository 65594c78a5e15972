"""What only the course's own files hold: who hands that in has named the course's repository, or got hold of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from grader.book.keys import split_checks
from grader.book.nbgrader_course import NbCourse
from grader.lean import nbformat
from grader.notebooks.source import solution_regions
from grader.steps.collect.room import Refused
from grader.steps.secrets import squeeze, text_of
from grader.text import plain

_MARKED = re.compile(r"[^\n]*BEGIN (SOLUTION|HIDDEN TESTS)\b.*?END \1[^\n]*", re.S)
# One of them stands in each text that is looked for.
_HINTS = (b"BEGIN SOLUTION", b"BEGIN HIDDEN TESTS", b"@check")
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
    for path in sorted(source.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            what = {"SOLUTION": "a reference solution", "HIDDEN TESTS": "hidden tests"}
            found += [(f"{what[m[1]]} of {path.name}", m[0]) for m in _MARKED.finditer(cell.source)]
    return [(what, squeeze(text)) for what, text in found]


def refuse_own(texts: Iterable[tuple[str, str]], files: dict[str, Path]) -> None:
    """Raise Refused where one of `files`, by their names, holds one of the course's own `texts`."""
    for name, path in files.items():
        with path.open("rb") as file:
            data = file.read(_MOST)
        if not any(hint in data for hint in _HINTS):
            continue
        text = squeeze(text_of(data, path.suffix == ".ipynb"))
        for what, own in texts:
            if own in text:
                raise Refused(
                    f"{plain(name, 80)} holds {what}: these are the course's own files, not a student's work"
                )
