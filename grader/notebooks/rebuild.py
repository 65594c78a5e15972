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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from grader.lean import nbformat
from grader.notebooks.differences import differences, unusual_lines
from grader.notebooks.reading import Submitted, clean_outputs, clean_text, read_submission
from grader.notebooks.template import Template, grade_id, is_answer, is_report
from grader.safe import apart, html
from grader.safe.pictures import Room
from grader.tree import summed_up

READER = f"{__name__}:answer"  # what reads a submission, in a child process


def rebuild_apart(template: Template, path: Path) -> tuple[nbformat.NotebookNode, list[str]]:
    """Return what `rebuild` returns, worked out in a child process with a clock and a limit on memory.

    Where these end the reading, no parser meets the texts: Markdown becomes a block of text, and pictures are
    dropped. Where that does not help, nothing of the notebook is taken, and a note says so.
    """
    tried = []
    for parse in (True, False):
        try:
            notebook, notes = apart.call(READER, vars(template), os.path.abspath(path), parse)
            return nbformat.from_dict(notebook), [*tried, *notes]
        except apart.Ended as error:
            what = "its texts and pictures are shown as text" if parse else "its answers are not read"
            tried = [f"{path.name}: {error}; {what}"]
    return _Assembly(template, False).made({}, None), tried


def answer(template: dict[str, Any], path: str, parse: bool) -> list[Any]:
    """Do the work of `rebuild_apart`, in the child."""
    cells = [nbformat.from_dict(cell) for cell in template.pop("cells")]
    return list(rebuild(Template(cells=cells, **template), Path(path), parse=parse))


def warm_up() -> None:
    """Import the parsers, which are imported when they are first used: once for all children."""
    html.warm_up()
    nbformat.v4.new_notebook()  # compiles nbformat's schema, which takes half of a child's time


def rebuild(template: Template, path: Path, *, parse: bool = True) -> tuple[nbformat.NotebookNode, list[str]]:
    """Return the course's notebook with the answers of the submitted one at `path`, and notes for a person.

    Where the points come from modules, nothing else is taken. A plain nbgrader notebook also keeps the
    student's own ungraded cells where they stood, as nbgrader does: their helpers may live there. Without `parse`
    no parser of Markdown or HTML meets the submission.
    """
    submitted, notes = read_submission(path)
    if submitted is None:
        return _Assembly(template, parse).made({}, None), notes
    pieces = _pieces(submitted, template)
    for cell in template.cells:
        if (count := len(pieces.get(grade_id(cell), ()))) > 1:
            told = pieces[grade_id(cell)].told if is_answer(cell) else "the course's own is used"
            notes.append(f"{path.name}: {count} cells are called {grade_id(cell)}; {told}")
    answers = {name: of.answer for name, of in pieces.items()}
    notes += differences(template, answers, path.name)
    notes += unusual_lines(template, submitted, path.name)
    assembly = _Assembly(template, parse)
    notebook = assembly.made(answers, None if template.judges_files else _extras(submitted, pieces))
    return notebook, notes + summed_up([f"{path.name}: {note}" for note in assembly.notes], "such pictures")


# --- which cells are an answer ------------------------------------------------------------------------------


@dataclass
class _Pieces:
    """The cells that have the id of one cell of the course's: an editor that splits or copies a cell keeps its id."""

    answer: Submitted  # what counts
    others: list[Submitted]  # what runs, or is shown, where it stands, as a cell of the student's own
    all: list[Submitted]
    told: str = "the first counts, the others say nothing else"

    def __len__(self) -> int:
        return len(self.all)


MAX_COPIES = 50  # of a cell, that are compared with one another
_TOGETHER = "together they are the answer"


def _pieces(submitted: Iterable[Submitted], template: Template) -> dict[str, _Pieces]:
    """Return the submitted cells by the ids of the course's."""
    known = {grade_id(cell): cell for cell in template.cells if grade_id(cell)}
    found: dict[str, list[Submitted]] = defaultdict(list)
    for cell in submitted:
        if cell.grade_id in known:
            found[cell.grade_id].append(cell)
    return {name: _joined(known[name], cells, template) for name, cells in found.items()}


def _joined(original: nbformat.NotebookNode, cells: list[Submitted], template: Template) -> _Pieces:
    # A copy of another, or of the cell as it was handed out, or what is left empty of it, answers nothing more.
    untouched = "", original.source.strip()
    different: list[Submitted] = []
    for cell in cells:
        same = any(_text_of(cell) == _text_of(other) for other in different[:MAX_COPIES])
        if not same and cell.source.strip() not in untouched:
            different.append(cell)
    answers = different or cells[:1]
    if not is_answer(original):
        return _Pieces(cells[0], [], cells)
    if len(answers) == 1:
        told = _Pieces.told if answers[0] is cells[0] else "the one with an answer counts"
        return _Pieces(answers[0], [], cells, told)
    if original.cell_type == "code" and not template.judges_files:
        # One that fails must not keep the other from running, and each may begin with a magic of its own.
        first = next((cell for cell in answers if cell.kind == "code"), answers[0])
        return _Pieces(first, [cell for cell in answers if cell is not first], cells, _TOGETHER)
    return _Pieces(_one_of(answers), [], cells, _TOGETHER)


def _text_of(cell: Submitted) -> tuple[str, Any]:
    return cell.source.strip(), cell.attachments or None


def _one_of(pieces: list[Submitted]) -> Submitted:
    """Return one cell with the texts, pictures and outputs of several, in their order."""
    texts, pictures, outputs = [], {}, []
    for number, piece in enumerate(pieces):
        source, theirs = piece.source, piece.attachments if isinstance(piece.attachments, dict) else {}
        for name, data in theirs.items():
            new = name
            if pictures.get(name, data) != data:  # another picture of that name; editors call many image.png
                new = f"{number}-{name}"
                for written in {name, quote(name)}:
                    source = source.replace(f"attachment:{written}", f"attachment:{quote(new)}")
            pictures[new] = data
        texts.append(source)
        outputs += piece.outputs if isinstance(piece.outputs, list) else []
    return replace(pieces[0], source="\n\n".join(texts), attachments=pictures, outputs=outputs)


def _extras(submitted: Iterable[Submitted], pieces: dict[str, _Pieces]) -> dict[str, list[Submitted]]:
    """Return the student's own cells, by the id of the course's cell that they follow."""
    extras: dict[str, list[Submitted]] = defaultdict(list)
    own = {id(cell) for of in pieces.values() for cell in of.others}
    last = ""
    for cell in submitted:
        if (of := pieces.get(cell.grade_id)) is None:
            if cell.kind != "raw":
                extras[last].append(cell)
        elif id(cell) in own:
            extras[last].append(cell)
        elif cell is of.answer or cell is of.all[0]:
            last = cell.grade_id
    return extras


# --- the notebook -------------------------------------------------------------------------------------------


class _Assembly:
    """Puts what was taken of a submission into the course's notebook; `notes` says what could not be shown."""

    def __init__(self, template: Template, parse: bool):
        self._template, self._parse = template, parse
        self._room = Room()
        self.notes: list[str] = []

    def made(
        self, answers: dict[str, Submitted], extras: dict[str, list[Submitted]] | None
    ) -> nbformat.NotebookNode:
        """Return the notebook with `answers` by id, and with `extras` after the cells of these ids."""
        notebook = nbformat.v4.new_notebook()
        if self._template.kernelspec:
            notebook.metadata.kernelspec = dict(self._template.kernelspec)
        cells = notebook.cells
        if extras is not None:
            cells += self._ungraded(extras.get("", ()), len(cells))
        for original in self._template.cells:
            identity = grade_id(original)
            if not identity:
                if extras is None:
                    cells.append(copy.deepcopy(original))
                continue
            cell = copy.deepcopy(original)
            answer = answers.get(identity)
            if answer and is_answer(cell):
                self._answer(cell, answer)
            cells.append(cell)
            if extras is not None:
                cells += self._ungraded(extras.get(identity, ()), len(cells))
        return notebook

    def _answer(self, cell: nbformat.NotebookNode, theirs: Submitted) -> None:
        # What our cell is decides what becomes of the text, not what theirs is said to be.
        if cell.cell_type == "markdown":
            self._text(cell, theirs)
        else:
            cell.source = theirs.source
        if cell.cell_type == "code" and is_report(cell) and self._template.judges_files:
            outputs = clean_outputs(theirs.outputs, parse=self._parse)
            cell.outputs = [nbformat.from_dict(output) for output in outputs]

    def _text(self, cell: nbformat.NotebookNode, theirs: Submitted) -> None:
        ours = cell.pop("attachments", {})
        cell.source, pasted, notes = clean_text(theirs, parse=self._parse, ours=ours, room=self._room)
        if pasted:
            cell.attachments = nbformat.from_dict(pasted)
        where = grade_id(cell) or "an own cell"
        self.notes += [f"{where}: {note}" for note in notes]

    def _ungraded(self, submitted: Iterable[Submitted], position: int) -> list[nbformat.NotebookNode]:
        found = []
        for index, cell in enumerate(submitted, position):
            if cell.kind == "code":
                found.append(nbformat.v4.new_code_cell(cell.source, id=f"extra-{index}"))
            else:
                found.append(nbformat.v4.new_markdown_cell(id=f"extra-{index}"))
                self._text(found[-1], cell)
        return found
