"""Judges one notebook: the template as released, and its cells or its part's checks run in sandboxes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.course import CourseError, Part
from grader.examine.report import UNSETTLED
from grader.lean import nbformat
from grader.notebooks import verdicts
from grader.notebooks.limits import USUAL
from grader.notebooks.plan import isolation_notes, runs
from grader.notebooks.reading import clean_apart, pictures_asked_for
from grader.notebooks.template import HIDDEN, SCHEME, Marks, Template, grade_id
from grader.safe.pictures import Room
from grader.text import plain

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

    from grader.examine.examiner import Examiner
    from grader.examine.report import Report
    from grader.notebooks.limits import Seconds
    from grader.notebooks.run import Prepared
    from grader.sandbox.packed import Packed


def load_template(
    gradebook: Gradebook,
    assignment: str,
    notebook: str,
    layout: Path,
    *,
    judges_files: bool,
    hidden: Marks = HIDDEN,
    scheme: Marks = SCHEME,
) -> Template:
    """Return the notebook as released, with its hidden tests: order from `layout`, text from the gradebook.

    `layout` is the instructor's own notebook; where it is gone, nbgrader's cells stand in the gradebook's
    order. Cells that are newer than the last release are left out, since no student has them. What students did not
    get of a cell stands between the marks `hidden` and `scheme`.
    """
    record = gradebook.find_notebook(notebook, assignment)
    recorded = {cell.name: cell for cell in record.source_cells}
    roles = {
        "grade": {cell.name: cell.max_score for cell in record.grade_cells},
        "task": {cell.name: cell.max_score for cell in record.task_cells},
        "solution": {cell.name for cell in record.solution_cells},
    }
    cells = []
    if layout.is_file():
        for cell in nbformat.read(layout, as_version=4).cells:
            identity = grade_id(cell)
            if identity in recorded:
                cells.append(_from_record(recorded.pop(identity), roles, cell.metadata.get("tags")))
                _with_pictures(cells[-1], cell)
            elif not identity:
                new = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
                tags = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
                cells.append(new(cell.source, metadata=tags))
                _with_pictures(cells[-1], cell)
    for source in recorded.values():
        cells.append(_from_record(source, roles, None))
        _with_pictures(cells[-1], {})
    for index, cell in enumerate(cells):
        cell.id = f"cell-{index}"
    kernelspec = json.loads(record.kernelspec or "{}")
    return Template(notebook, cells, kernelspec, judges_files, layout.is_file(), hidden, scheme)


def kernel_of(template: Template | None, layout: Path) -> dict[str, Any]:
    """Return the kernelspec of a notebook: as released, and what that leaves open as the instructor's own says it.

    Raises CourseError where `layout`, the instructor's own, is there and is no notebook.
    """
    try:
        own = nbformat.read(layout, as_version=4).metadata if layout.is_file() else {}
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:  # what nbformat raises for other files
        raise CourseError(f"{layout}: not a notebook ({plain(str(error), 200)}); save it again") from None
    language = own.get("language_info", {}).get("name")
    found = {**({"language": language} if language else {}), **own.get("kernelspec", {})}
    return {**found, **(template.kernelspec if template else {})}


def _with_pictures(cell: nbformat.NotebookNode, layout: Mapping[str, Any]) -> None:
    """Give a cell of text the pictures that were pasted into the instructor's own: the gradebook keeps none."""
    theirs = layout.get("attachments") or {}
    if cell.cell_type == "markdown":
        asked, _ = pictures_asked_for(cell.source, theirs, {}, Room())
        if attachments := {**theirs, **asked}:
            cell.attachments = nbformat.from_dict(attachments)


def _from_record(source: Any, roles: dict[str, Any], tags: list[str] | None) -> nbformat.NotebookNode:
    name = source.name
    metadata = {
        "schema_version": 3,
        "grade": name in roles["grade"],
        "solution": name in roles["solution"],
        "locked": bool(source.locked),
        "task": name in roles["task"],
        "grade_id": name,
        "cell_type": source.cell_type,
    }
    if name in roles["grade"] or name in roles["task"]:
        metadata["points"] = float({**roles["grade"], **roles["task"]}[name])
    if source.checksum:
        metadata["checksum"] = source.checksum
    new = nbformat.v4.new_code_cell if source.cell_type == "code" else nbformat.v4.new_markdown_cell
    return new(source.source or "", metadata={"nbgrader": metadata, **({"tags": tags} if tags else {})})


def judge(
    notebook: nbformat.NotebookNode,
    part: Part | None,
    folder: Path | Packed,
    examiner: Examiner,
    wall: Seconds = USUAL,
    *,
    standing: Report | None = None,
    names: Iterable[str] | None = None,
    prepared: Prepared | None = None,
) -> tuple[Report | None, list[str], list[str]]:
    """Fill in the outputs of a rebuilt notebook, from which nbgrader reads the scores.

    A part of course.toml is examined: the score of each check cell comes from the checks on the files in
    `folder`, or on those that were read already, and no cell runs. A plain notebook runs in a worker that has
    them, `wall` seconds per cell, its tests in another as far as `prepared` says so.
    Returns the report of a part, the ids that a person must settle, and notes for the instructor.
    Of a part only the checks in `names` run (None: all); the verdicts in `standing` hold as they are.
    """
    # With all that checks need, of which `load_template` needs nothing.
    from grader.examine.examiner import KILLED, TRIES

    if part is None:
        notes, again, _ = examiner.place.undisturbed(
            lambda: _run_plain(notebook, folder, examiner, wall, prepared), TRIES
        )
        return None, [], [KILLED, *notes] if again else notes
    names = None if names is None else set(names)
    if names is None or names:
        with examiner.place.turn():
            report = examiner.examine(part, folder, names=names)
        if standing is not None:
            report.checks += standing.checks
            report.notes += [note for note in standing.notes if note not in report.notes]
    else:
        report = standing
    for cell in notebook.cells:
        item = grade_id(cell)
        if item in part.items:
            checks = [check for check in report.checks if check.item == item]
            cell.outputs = [nbformat.from_dict(o) for o in verdicts.outputs(checks, part.items[item])]
    left = {check.item for check in report.checks if check.verdict in UNSETTLED}
    return report, sorted(left), list(report.notes)


def _run_plain(
    notebook: nbformat.NotebookNode,
    folder: Path | Packed,
    examiner: Examiner,
    wall: Seconds,
    prepared: Prepared | None,
) -> list[str]:
    from grader.notebooks.run import run_notebook

    cells = [cell for cell in notebook.cells if runs(cell)]
    with examiner.place.turn():
        found, notes = run_notebook(examiner.place, notebook, folder, wall, prepared)
    cleaned, more = clean_apart(found)
    notes += more
    for count, (cell, outputs) in enumerate(zip(cells, cleaned, strict=True), 1):
        cell.execution_count = count
        cell.outputs = [nbformat.from_dict(output) for output in outputs]
        if grade_id(cell) and not any(o.output_type == "error" for o in cell.outputs):
            warned = any(o.output_type == "stream" and o.name == "stderr" for o in cell.outputs)
            if warned and cell.metadata.nbgrader.get("grade"):
                notes.append(f"{grade_id(cell)}: printed to stderr, which nbgrader takes for a failure")
    return [*notes, *isolation_notes(notebook, prepared.plan if prepared else None)]
