"""The notebook that is graded: the course's own, with the student's answers put in.

A submitted notebook is data from a stranger. Nothing of it is kept but the text of solution cells, made harmless
to a browser, and the pictures of report cells; tags, metadata, ids, extra, missing, edited or doubled test cells
change nothing.
"""

from __future__ import annotations

import copy
import json
import mmap
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grader.lean import nbformat
from grader.notebooks.unusual import MOST, quotes
from grader.safe.html import clean_html, harmless_markdown
from grader.text import plain
from grader.tree import MAX_NOTEBOOK

LARGE_NOTEBOOK = 20 << 20  # bytes; one with its plots has one or two, a larger one is read without them
MAX_CELLS = 5000
MAX_OUTPUT = 4 << 20  # characters of outputs kept per cell
MIME_TYPES = ("text/plain", "text/html", "text/markdown", "text/latex", "image/png", "image/jpeg")
PICTURES = ("image/png", "image/jpeg")
MAX_PIECES = 6_000_000  # strings and brackets of a large notebook; a million takes about a second
# A string without an end goes to the end, or each of its quotes would be tried anew.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
# Every alternative begins with a letter of its own, so that the search passes over the rest at once.
_PIECE = re.compile(rb'"(?P<begin>outputs|attachments)"\s*+:\s*+[\[{]|' + _STRING + rb"|\[|\]|\{|\}", re.S)
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
    attachments: dict[str, dict[str, str]] = field(default_factory=dict)
    role: dict[str, Any] = field(default_factory=dict)  # nbgrader's metadata as submitted: evidence only
    tags: list[str] = field(default_factory=list)


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
        notes, size = [], path.stat().st_size
        raw = path.read_bytes() if size <= LARGE_NOTEBOOK else without_outputs(path)
        if size > LARGE_NOTEBOOK:
            notes.append(f"{path.name}: {size >> 20} MiB, read without its outputs")
        coding = json.detect_encoding(raw)
        data = json.loads(raw.decode("utf-8-sig" if coding == "utf-8" else coding, errors="replace"))
    except OSError as error:
        return None, [f"{path.name}: cannot be read ({error.strerror}); submit the notebook"]
    except (ValueError, RecursionError) as error:
        return None, [f"{path.name}: not a notebook ({_first_line(error)}); its answers are not read"]
    cells, more = _cells_of(data, path.name)
    return cells, notes + more


def without_outputs(path: Path) -> bytes:
    """Return the text of a notebook with empty outputs and no attachments, never holding these in memory.

    Raises ValueError where it is larger than `grader.tree.MAX_NOTEBOOK`, of many small pieces, or without them
    still larger than LARGE_NOTEBOOK; OSError where it cannot be read.
    """
    light, start, depth, skipping = bytearray(), 0, 0, 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_NOTEBOOK:
            raise ValueError(f"{size >> 20} MiB, more than {MAX_NOTEBOOK >> 20}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            for count, token in enumerate(_PIECE.finditer(text)):
                first = text[token.start()]
                if count > MAX_PIECES:
                    raise ValueError(f"{size >> 20} MiB of small pieces")
                depth += (first in b"{[" or token.lastgroup is not None) - (first in b"}]")
                if not skipping and token.lastgroup:
                    # The list of outputs keeps its first bracket and its last.
                    _add(light, text, start, token.end(), size)
                    skipping = depth
                elif skipping and depth < skipping:
                    start, skipping = token.start(), 0
            if not skipping:
                _add(light, text, start, size, size)
    return bytes(light)


def _add(light: bytearray, text: mmap.mmap, start: int, end: int, size: int) -> None:
    if len(light) + end - start > LARGE_NOTEBOOK:
        raise ValueError(f"{size >> 20} MiB, and large without its outputs too")
    light += text[start:end]


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
    return found, notes


def _submitted(cell: dict[str, Any]) -> Submitted:
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    identity = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    kind = cell.get("cell_type")
    kind = kind if kind in ("code", "markdown") else "raw"
    source, attachments = plain_text(cell.get("source")), _clean_attachments(cell.get("attachments"))
    return Submitted(
        kind=kind,
        source=harmless_markdown(source, attachments) if kind == "markdown" else source,
        grade_id=identity if isinstance(identity, str) else "",
        outputs=clean_outputs(cell.get("outputs")),
        attachments=attachments if kind == "markdown" else {},
        role=nbgrader if isinstance(nbgrader, dict) else {},
        tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
    )


def _clean_attachments(attachments: Any) -> dict[str, dict[str, str]]:
    """Return the pictures pasted into a cell of text, within the limit."""
    kept, room = {}, MAX_OUTPUT
    for name, data in attachments.items() if isinstance(attachments, dict) else ():
        for mime in PICTURES if isinstance(data, dict) else ():
            picture = plain_text(data.get(mime))
            if picture and _BASE64.fullmatch(picture) and len(picture) <= room:
                kept[plain_text(name)] = {mime: picture}
                room -= len(picture)
    return kept


def plain_text(value: Any) -> str:
    """Return a notebook's multi-line text as one string that can be written as UTF-8."""
    if isinstance(value, (list, tuple)):
        value = "".join(line for line in value if isinstance(line, str))
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", errors="replace").decode("utf-8")


def clean_outputs(outputs: Any) -> list[dict[str, Any]]:
    """Return well-formed copies of a stranger's outputs: known kinds, known types, text, within the limit.

    Scripts, widgets and SVG (which can carry scripts) are dropped, HTML and Markdown made harmless.
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
    for mime in PICTURES:
        if not _BASE64.fullmatch(data.get(mime, "")):
            del data[mime]
    if "text/html" in data:
        data["text/html"] = str(clean_html(data["text/html"]))
    if "text/markdown" in data:
        data["text/markdown"] = harmless_markdown(data["text/markdown"])
    if kind == "display_data" and not data:
        return None
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
    notes += _differences(template, answers, path.name)
    notes += _unusual(template, submitted, path.name)
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


def _differences(template: Template, answers: dict[str, Submitted], name: str) -> list[str]:
    """Return a note for every cell of the course's that came back missing or changed, with what was changed."""
    notes = []
    for cell in template.cells:
        identity = grade_id(cell)
        if not identity:
            continue
        if identity not in answers:
            kind = "answer" if is_answer(cell) else "cell"
            notes.append(f"{name}: the {kind} {identity} is missing; the released one is used")
            continue
        theirs = answers[identity]
        if not is_answer(cell):
            notes += _edited(cell, theirs.source, f"{name}: the cell {identity}")
        known = set(cell.metadata.get("tags", ()))
        if tags := [tag for tag in theirs.tags if tag not in known]:
            told = plain(", ".join(tags), 80)
            notes.append(f"{name}: the cell {identity} came back tagged {told}; the course's tags are used")
        for key, value in cell.metadata.nbgrader.items():
            if (
                key in ("points", "grade", "solution", "locked", "task")
                and theirs.role.get(key, value) != value
            ):
                told = plain(repr(theirs.role[key])[:100], 40)
                notes.append(f"{name}: the cell {identity} came back with {key} {told}, not {value}; unused")
    return notes


def _edited(cell: nbformat.NotebookNode, theirs: str, where: str) -> list[str]:
    def lines(text: str) -> list[str]:
        return [line.rstrip() for line in text.strip().splitlines()]

    # What is displayed to instructors is compared with what was released, which has no hidden tests.
    released = lines(without_hidden_tests(cell.source))
    if lines(theirs) in (released, lines(cell.source)):
        return []
    added = [line.strip() for line in lines(theirs) if line not in released and line.strip()]
    told = f", with: {plain(added[0], 100)}" if added else ", with lines taken out"
    return [f"{where} was edited{told}; the course's own text is used"]


def _unusual(template: Template, submitted: list[Submitted], name: str) -> list[str]:
    """Return notes that quote unusual lines of the student's own code, where it runs."""
    ours = "\n".join(cell.source for cell in template.cells)
    notes = []
    for number, cell in enumerate(submitted, 1):
        if cell.kind == "code" and not template.judges_files:
            notes += quotes(f"{name}: cell {number} ({plain(cell.grade_id, 40) or 'own'})", cell.source, ours)
    return notes[:MOST]


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
            if answer.attachments and cell.cell_type == "markdown":
                cell.attachments = nbformat.from_dict(answer.attachments)
            if cell.cell_type == "code" and is_report(cell) and template.judges_files:
                cell.outputs = [nbformat.from_dict(output) for output in answer.outputs]
        cells.append(cell)
        if extras is not None:
            cells += _ungraded(extras.get(identity, ()), len(cells))
    return notebook


def _ungraded(submitted: Iterable[Submitted], position: int) -> list[nbformat.NotebookNode]:
    found = []
    for index, cell in enumerate(submitted, position):
        if cell.kind == "code":
            found.append(nbformat.v4.new_code_cell(cell.source, id=f"extra-{index}"))
        else:
            more = {"attachments": nbformat.from_dict(cell.attachments)} if cell.attachments else {}
            found.append(nbformat.v4.new_markdown_cell(cell.source, id=f"extra-{index}", **more))
    return found


def without_hidden_tests(source: str) -> str:
    """Return the source of a test cell as it was released."""
    return _HIDDEN.sub("", source)
