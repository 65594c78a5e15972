"""The notebook that is graded: the course's own, with the student's answers put in.

A submitted notebook is data from a stranger. Nothing of it is kept but the text of solution cells, made harmless
to a browser, and the pictures of report cells; tags, metadata, ids, extra, missing, edited or doubled test cells
change nothing. What nobody keeps meets no parser.
"""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grader.lean import nbformat
from grader.notebooks.differences import differences, unusual_lines
from grader.notebooks.reading import Submitted, clean_outputs, clean_text, read_submission
from grader.notebooks.template import Template, grade_id, is_answer, is_report
from grader.safe import apart, html


def rebuild_apart(template: Template, path: Path) -> tuple[nbformat.NotebookNode, list[str]]:
    """Return what `rebuild` returns, worked out in a child process with a clock and a limit on memory.

    Where these end the reading, no parser meets the texts: Markdown becomes a block of text, and pictures are
    dropped. Where that does not help, nothing of the notebook is taken, and a note says so.
    """
    tried = []
    for parse in (True, False):
        try:
            notebook, notes = apart.call(f"{__name__}:answer", vars(template), os.path.abspath(path), parse)
            return nbformat.from_dict(notebook), [*tried, *notes]
        except apart.Ended as error:
            what = "its texts and pictures are shown as text" if parse else "its answers are not read"
            tried = [f"{path.name}: {error}; {what}"]
    return _assemble(template, {}, None, False), tried


def answer(template: dict[str, Any], path: str, parse: bool) -> list[Any]:
    """Do the work of `rebuild_apart`, in the child."""
    cells = [nbformat.from_dict(cell) for cell in template.pop("cells")]
    return list(rebuild(Template(cells=cells, **template), Path(path), parse=parse))


def warm_up() -> None:
    """Import the parsers, which are imported when they are first used: once for all children."""
    html.warm_up()


def rebuild(template: Template, path: Path, *, parse: bool = True) -> tuple[nbformat.NotebookNode, list[str]]:
    """Return the course's notebook with the answers of the submitted one at `path`, and notes for a person.

    Where the points come from modules, nothing else is taken. A plain nbgrader notebook also keeps the
    student's own ungraded cells where they stood, as nbgrader does: their helpers may live there. Without `parse`
    no parser of Markdown or HTML meets the submission.
    """
    submitted, notes = read_submission(path)
    if submitted is None:
        return _assemble(template, {}, None, parse), notes
    ids = {grade_id(cell) for cell in template.cells} - {""}
    answers, extras, doubled = _sort_out(submitted, ids)
    notes += [
        f"{path.name}: {count + 1} cells are called {name}; the first counts" for name, count in doubled
    ]
    notes += differences(template, answers, path.name)
    notes += unusual_lines(template, submitted, path.name)
    return _assemble(template, answers, None if template.judges_files else extras, parse), notes


def _sort_out(
    submitted: Iterable[Submitted], ids: set[str]
) -> tuple[dict[str, Submitted], dict[str, list[Submitted]], list[tuple[str, int]]]:
    """Return the cells by id, the others by the id they follow, and the ids met more than once."""
    answers: dict[str, Submitted] = {}
    extras: dict[str, list[Submitted]] = defaultdict(list)
    doubled: dict[str, int] = defaultdict(int)
    last = ""
    for cell in submitted:
        if cell.grade_id in answers:
            doubled[cell.grade_id] += 1
        elif cell.grade_id in ids:
            answers[cell.grade_id] = cell
            last = cell.grade_id
        elif cell.kind != "raw":
            extras[last].append(cell)
    return answers, extras, list(doubled.items())


def _assemble(
    template: Template,
    answers: dict[str, Submitted],
    extras: dict[str, list[Submitted]] | None,
    parse: bool,
) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook()
    if template.kernelspec:
        notebook.metadata.kernelspec = dict(template.kernelspec)
    cells = notebook.cells
    if extras is not None:
        cells += _ungraded(extras.get("", ()), len(cells), parse)
    for original in template.cells:
        identity = grade_id(original)
        if not identity:
            if extras is None:
                cells.append(copy.deepcopy(original))
            continue
        cell = copy.deepcopy(original)
        answer = answers.get(identity)
        if answer and is_answer(cell):
            # What our cell is decides what becomes of the text, not what theirs is said to be.
            if cell.cell_type == "markdown":
                _put_text(cell, answer, parse)
            else:
                cell.source = answer.source
            if cell.cell_type == "code" and is_report(cell) and template.judges_files:
                cell.outputs = [nbformat.from_dict(o) for o in clean_outputs(answer.outputs, parse=parse)]
        cells.append(cell)
        if extras is not None:
            cells += _ungraded(extras.get(identity, ()), len(cells), parse)
    return notebook


def _put_text(cell: nbformat.NotebookNode, theirs: Submitted, parse: bool) -> None:
    cell.source, attachments = clean_text(theirs, parse=parse)
    if attachments:
        cell.attachments = nbformat.from_dict(attachments)


def _ungraded(submitted: Iterable[Submitted], position: int, parse: bool) -> list[nbformat.NotebookNode]:
    found = []
    for index, cell in enumerate(submitted, position):
        if cell.kind == "code":
            found.append(nbformat.v4.new_code_cell(cell.source, id=f"extra-{index}"))
        else:
            found.append(nbformat.v4.new_markdown_cell(id=f"extra-{index}"))
            _put_text(found[-1], cell, parse)
    return found
