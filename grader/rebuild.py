"""The notebook that is graded: the course's own, with the student's answers put in.

A submitted notebook is data from a stranger. Nothing of it is kept but the text of solution cells and the
pictures of report cells; tags, metadata, ids, extra, missing, edited or doubled test cells change nothing.
"""

from __future__ import annotations

import copy
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grader.lean import nbformat

MAX_NOTEBOOK = 20 << 20  # bytes; a notebook with its plots has one or two
MAX_CELLS = 5000
MAX_OUTPUT = 4 << 20  # characters of outputs kept per cell
MIME_TYPES = ("text/plain", "text/html", "text/markdown", "text/latex", "image/png", "image/jpeg")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
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


@dataclass
class Submitted:
    """One cell of a submitted notebook, every field of the type it should have."""

    kind: str
    source: str
    grade_id: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    has_attachments: bool = False


def grade_id(cell: nbformat.NotebookNode) -> str:
    """Return nbgrader's id of a cell of the course's own, or the empty string."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def is_answer(cell: nbformat.NotebookNode) -> bool:
    """Return whether the student fills this cell in."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_report(cell: nbformat.NotebookNode) -> bool:
    """Return whether a person grades this cell."""
    return is_answer(cell) and bool(cell.metadata.nbgrader.get("grade"))


# --- reading ------------------------------------------------------------------------------------------------


def read_submission(path: Path) -> tuple[list[Submitted] | None, list[str]]:
    """Return the cells of the notebook at `path`, and notes on what was wrong with it.

    Never raises for what a student wrote: None instead of cells means that nothing could be read, and the
    note says why.
    """
    try:
        size = path.stat().st_size
        if size > MAX_NOTEBOOK:
            megabytes = MAX_NOTEBOOK >> 20
            return None, [f"{path.name}: {size >> 20} MiB, more than the {megabytes} read; clear its outputs"]
        data = json.loads(path.read_bytes().decode("utf-8-sig", errors="replace"))
    except OSError as error:
        return None, [f"{path.name}: cannot be read ({error.strerror}); submit the notebook"]
    except (ValueError, RecursionError) as error:
        return None, [f"{path.name}: not a notebook ({_first_line(error)}); its answers are not read"]
    return _cells_of(data, path.name)


def _cells_of(data: Any, name: str) -> tuple[list[Submitted] | None, list[str]]:
    notes = []
    major = data.get("nbformat") if isinstance(data, dict) else None
    if type(major) is not int:
        return None, [f"{name}: JSON, but no notebook (no nbformat); its answers are not read"]
    if major < 4:
        try:
            data = nbformat.convert(nbformat.from_dict(data), 4)
        except Exception as error:  # the converter meets a stranger's data
            return None, [f"{name}: notebook format {major} that cannot be upgraded ({_first_line(error)})"]
        notes.append(f"{name}: upgraded from notebook format {major}")
    cells = data.get("cells")
    if not isinstance(cells, list):
        return None, [*notes, f"{name}: a notebook without a list of cells; its answers are not read"]
    if len(cells) > MAX_CELLS:
        notes.append(f"{name}: {len(cells)} cells; those after the first {MAX_CELLS} are not read")
    found = [_submitted(cell) for cell in cells[:MAX_CELLS] if isinstance(cell, dict)]
    if any(cell.has_attachments for cell in found):
        notes.append(f"{name}: pasted images are dropped")
    return found, notes


def _submitted(cell: dict[str, Any]) -> Submitted:
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    identity = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    kind = cell.get("cell_type")
    return Submitted(
        kind=kind if kind in ("code", "markdown") else "raw",
        source=plain_text(cell.get("source")),
        grade_id=identity if isinstance(identity, str) else "",
        outputs=clean_outputs(cell.get("outputs")),
        has_attachments=bool(cell.get("attachments")),
    )


def plain_text(value: Any) -> str:
    """Return a notebook's multi-line text as one string that can be written as UTF-8."""
    if isinstance(value, (list, tuple)):
        value = "".join(line for line in value if isinstance(line, str))
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", errors="replace").decode("utf-8")


def clean_outputs(outputs: Any) -> list[dict[str, Any]]:
    """Return well-formed copies of a stranger's outputs: known kinds, known types, text, within the limit.

    Scripts, widgets and SVG (which can carry scripts) are dropped; HTML is sanitized where it is shown.
    """
    kept, room = [], MAX_OUTPUT
    for output in outputs if isinstance(outputs, list) else []:
        clean = _clean_output(output) if isinstance(output, dict) else None
        if clean is None:
            continue
        room -= len(json.dumps(clean))
        if room < 0:
            kept.append({"output_type": "stream", "name": "stdout", "text": "... output truncated ...\n"})
            break
        kept.append(clean)
    return kept


def _clean_output(output: dict[str, Any]) -> dict[str, Any] | None:
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return {"output_type": "stream", "name": name, "text": plain_text(output.get("text"))}
    if kind == "error":
        traceback = output.get("traceback")
        return {
            "output_type": "error",
            "ename": plain_text(output.get("ename")),
            "evalue": plain_text(output.get("evalue")),
            "traceback": [plain_text(line) for line in traceback] if isinstance(traceback, list) else [],
        }
    if kind not in ("display_data", "execute_result"):
        return None
    data = output.get("data")
    data = {mime: plain_text(data[mime]) for mime in MIME_TYPES if isinstance(data, dict) and mime in data}
    for mime in ("image/png", "image/jpeg"):
        if not _BASE64.fullmatch(data.get(mime, "")):
            del data[mime]
    clean = {"output_type": kind, "data": data, "metadata": {}}
    if kind == "execute_result":
        count = output.get("execution_count")
        clean["execution_count"] = count if type(count) is int else None
        data.setdefault("text/plain", "")
    return clean


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


# --- rebuilding ---------------------------------------------------------------------------------------------


def rebuild(template: Template, path: Path) -> tuple[nbformat.NotebookNode, list[str]]:
    """Return the course's notebook with the answers of the submitted one at `path`, and notes for a person.

    Where the points come from modules, nothing else is taken. A plain nbgrader notebook also keeps the
    student's own ungraded cells where they stood, as nbgrader does: their helpers may live there.
    """
    submitted, notes = read_submission(path)
    if submitted is None:
        return _assemble(template, {}, None), notes
    ids = {grade_id(cell) for cell in template.cells} - {""}
    answers, extras, doubled = _sort_out(submitted, ids)
    notes += [
        f"{path.name}: {count + 1} cells are called {name}; the first counts" for name, count in doubled
    ]
    notes += _tampering(template, answers, path.name)
    return _assemble(template, answers, None if template.judges_files else extras), notes


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


def _tampering(template: Template, answers: dict[str, Submitted], name: str) -> list[str]:
    notes = []
    for cell in template.cells:
        identity = grade_id(cell)
        if not identity:
            continue
        if identity not in answers:
            kind = "answer" if is_answer(cell) else "cell"
            notes.append(f"{name}: the {kind} {identity} is missing; the released one is used")
        elif not is_answer(cell):
            theirs = answers[identity].source.replace("\r\n", "\n").rstrip()
            if theirs not in (cell.source.rstrip(), without_hidden_tests(cell.source).rstrip()):
                notes.append(f"{name}: the cell {identity} was edited; the course's own text is used")
    return notes


def _assemble(
    template: Template, answers: dict[str, Submitted], extras: dict[str, list[Submitted]] | None
) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook()
    if template.kernelspec:
        notebook.metadata.kernelspec = dict(template.kernelspec)
    cells = notebook.cells
    if extras is not None:
        cells += _ungraded(extras.get("", ()), len(cells))
    for original in template.cells:
        identity = grade_id(original)
        if not identity:
            if extras is None:
                cells.append(copy.deepcopy(original))
            continue
        cell = copy.deepcopy(original)
        answer = answers.get(identity)
        if answer and is_answer(cell):
            cell.source = answer.source
            if cell.cell_type == "code" and is_report(cell) and template.judges_files:
                cell.outputs = [nbformat.from_dict(output) for output in answer.outputs]
        cells.append(cell)
        if extras is not None:
            cells += _ungraded(extras.get(identity, ()), len(cells))
    return notebook


def _ungraded(submitted: Iterable[Submitted], position: int) -> list[nbformat.NotebookNode]:
    new = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    return [
        new[cell.kind](cell.source, id=f"extra-{position + index}") for index, cell in enumerate(submitted)
    ]


def without_hidden_tests(source: str) -> str:
    """Return the source of a test cell as it was released."""
    return _HIDDEN.sub("", source)
