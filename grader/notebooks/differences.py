"""What of the course's own came back changed or missing in a submitted notebook: notes for a person.

A note accuses, so it must be true. What an editor, or nbgrader itself, does to a notebook is no difference.
"""

from __future__ import annotations

import hashlib
from typing import Any

from grader.lean import nbformat
from grader.notebooks.reading import Submitted
from grader.notebooks.template import Template, grade_id, is_answer, without
from grader.notebooks.unusual import MOST, quotes
from grader.text import plain

_ROLES = ("points", "grade", "solution", "locked", "task")


def differences(template: Template, submitted: dict[str, Submitted], name: str) -> list[str]:
    """Return a note for every cell of the course's that came back missing or changed, with what was changed.

    `submitted` is by nbgrader's id, with the text as it was handed in; `name` is the file's.
    """
    notes = []
    for cell in template.cells:
        identity = grade_id(cell)
        if not identity:
            continue
        if identity not in submitted:
            kind = "answer" if is_answer(cell) else "cell"
            notes.append(f"{name}: the {kind} {identity} is missing; the released one is used")
            continue
        theirs, where = submitted[identity], f"{name}: the cell {identity}"
        known = set(cell.metadata.get("tags", ()))
        if template.knows_tags and (tags := [tag for tag in theirs.tags if tag not in known]):
            notes.append(f"{where} came back tagged {plain(', '.join(tags), 80)}; the course's tags are used")
        kind = cell.metadata.nbgrader.get("cell_type", cell.cell_type)
        if theirs.kind != kind:
            notes.append(f"{where} came back as {_kind(theirs.kind)}; it is taken as {_kind(kind)}")
        if not is_answer(cell) and _is_as_handed_out(theirs):
            continue
        if not is_answer(cell):
            notes += _edited(
                cell, without(cell.source, template.hidden, template.scheme), theirs.source, where
            )
        ours, back = _roles(cell.metadata.nbgrader), _roles(theirs.role)
        for key, value in ours.items():
            if key in theirs.role and back.get(key, value) != value:
                told = plain(repr(theirs.role[key])[:100], 40)
                notes.append(f"{where} came back with {key} {told}, not {value}; unused")
    return notes


def _kind(cell_type: str) -> str:
    return {"code": "code", "markdown": "Markdown"}.get(cell_type, "a raw cell")


def _roles(nbgrader: dict[str, Any]) -> dict[str, Any]:
    """Return what nbgrader takes a cell for; it ignores `locked` where an answer or a test says more."""
    roles = {key: nbgrader[key] for key in _ROLES if key in nbgrader}
    if roles.get("solution") or roles.get("grade"):
        roles["locked"] = not roles.get("solution")
    return roles


def _is_as_handed_out(theirs: Submitted) -> bool:
    """Return whether the cell has the checksum that nbgrader gave it at its release, perhaps an earlier one.

    Who recomputes it gains that nobody is told of a text that has no effect.
    """
    role = theirs.role
    marks = [theirs.kind, *(str(_roles(role).get(key, False)) for key in ("grade", "solution", "locked"))]
    marks.append(theirs.grade_id)
    if role.get("grade"):
        points = role.get("points")
        marks.append(str(float(points)) if isinstance(points, (int, float)) and points < 1e9 else "")
    # As nbgrader.utils.compute_checksum, which takes seconds to import.
    text = (theirs.source + "".join(marks)).encode()
    return role.get("checksum") == hashlib.md5(text, usedforsecurity=False).hexdigest()


def _edited(cell: nbformat.NotebookNode, handed_out: str, theirs: str, where: str) -> list[str]:
    def lines(text: str) -> list[str]:
        return [line.rstrip() for line in text.strip().splitlines()]

    # What is displayed to instructors is compared with what was released, which has no hidden tests.
    released = lines(handed_out)
    if lines(theirs) in (released, lines(cell.source)):
        return []
    added = [line.strip() for line in lines(theirs) if line not in released and line.strip()]
    told = f", with: {plain(added[0], 100)}" if added else ", with lines taken out"
    return [f"{where} was edited{told}; the course's own text is used"]


def unusual_lines(template: Template, submitted: list[Submitted], name: str) -> list[str]:
    """Return notes that quote unusual lines of the student's own code, where it runs."""
    ours = "\n".join(cell.source for cell in template.cells)
    notes = []
    for number, cell in enumerate(submitted, 1):
        if cell.kind == "code" and not template.judges_files:
            notes += quotes(f"{name}: cell {number} ({plain(cell.grade_id, 40) or 'own'})", cell.source, ours)
    return notes[:MOST]
