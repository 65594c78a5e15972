"""What only the course's own files hold: students must not get it, and who hands it in has it from the course."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from grader.book.keys import split_checks
from grader.course import Assignment, CourseError
from grader.notebooks.source import build_notebook, solution_of, solution_regions
from grader.notebooks.template import grade_id, is_report

_LONG = 40  # characters; a shorter solution may well stand in the text by chance


def squeeze(text: str) -> str:
    """Return a text with every run of white space as one space: how it is laid out hides nothing."""
    return re.sub(r"\s+", " ", text).strip()


def text_of(data: bytes, is_notebook: bool) -> str:
    """Return what a file says, of a notebook the texts of its cells; what is no notebook is read as text."""
    text = data.decode("utf-8", "replace")
    if is_notebook:
        try:
            return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return text
    return text


def refuse_leaks(folder: Path, assignments: list[Assignment]) -> None:
    """Raise CourseError where a file under `folder` holds a hidden check or a solution of `assignments`."""
    secrets = [secret for assignment in assignments for secret in secrets_of(assignment)]
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or ".git" in path.relative_to(folder).parts:
            continue
        text = squeeze(text_of(path.read_bytes(), path.suffix == ".ipynb"))
        for what, secret in secrets:
            if secret in text:
                name = path.relative_to(folder)
                raise CourseError(f"{name}: holds {what}, which students must not get; nothing was released")


def secrets_of(assignment: Assignment) -> list[tuple[str, str]]:
    """Return (what it is, text without line breaks) of what students must not get.

    These are the names of hidden checks and mutants, and solutions and model answers that are long enough to tell.
    """
    found = []
    for part in assignment.parts.values():
        if part.checks_hidden.is_file():
            _, checks = split_checks(part.checks_hidden.read_text(encoding="utf-8"), part.checks_hidden)
            found += [(f"the name of the hidden check {name}", name) for name in checks]
        for path in sorted((part.source / "checks").glob("*_hidden.toml")):  # mutants, a table each
            names = tomllib.loads(path.read_text(encoding="utf-8"))
            found += [(f"{name} of {path.name}", f"[{name}]") for name in names]
        if (part.source / f"{part.notebook}.md").is_file():
            for cell in build_notebook(part).cells:
                if is_report(cell) and len(squeeze(cell.source)) >= _LONG:
                    found.append((f"the model answer of {grade_id(cell)}", squeeze(cell.source)))
        for name in part.files:
            path = part.source / name
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            for region in solution_regions(text, str(path)):
                solution = squeeze(solution_of(text, region))
                if len(solution) >= _LONG:
                    found.append((f"the solution at {name}:{region[0] + 1}", solution))
    return found
