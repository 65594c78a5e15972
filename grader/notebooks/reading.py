"""A submitted notebook, read as data from a stranger: every field of the type it should have, none of it trusted."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grader.lean import nbformat
from grader.safe import apart, html
from grader.safe.html import asked_for, harmless_markdown, html_within_limits, in_a_fence
from grader.safe.pictures import KINDS, Room, decoded, find, problem
from grader.text import plain
from grader.tree import MAX_NOTEBOOK, summed_up

LARGE_NOTEBOOK = 20 << 20  # bytes; one with its plots has one or two, a larger one is read without them
MAX_CELLS = 5000
MAX_OUTPUT = 4 << 20  # characters of outputs kept per cell
MIME_TYPES = ("text/plain", "text/html", "text/markdown", "text/latex", "image/png", "image/jpeg")
PICTURES = ("image/png", "image/jpeg")
PARSED = ("text/html", "text/markdown")  # what only a parser makes harmless
MAX_PIECES = 6_000_000  # strings and brackets of a large notebook; a million takes about a second
# A string without an end goes to the end, or each of its quotes would be tried anew.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
# Every alternative begins with a letter of its own, so that the search passes over the rest at once.
_PIECE = re.compile(rb'"(?P<begin>outputs|attachments)"\s*+:\s*+[\[{]|' + _STRING + rb"|\[|\]|\{|\}", re.S)
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")


@dataclass
class Submitted:
    """One cell of a submitted notebook, every field of the type it should have.

    Its Markdown and its outputs are as submitted: whoever keeps them makes them harmless first.
    """

    kind: str
    source: str
    grade_id: str
    outputs: Any = None
    attachments: Any = None
    role: dict[str, Any] = field(default_factory=dict)  # nbgrader's metadata as submitted: evidence only
    tags: list[str] = field(default_factory=list)


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
    return Submitted(
        kind=kind if kind in ("code", "markdown") else "raw",
        source=plain_text(cell.get("source")),
        grade_id=identity if isinstance(identity, str) else "",
        outputs=cell.get("outputs"),
        attachments=cell.get("attachments"),
        role=nbgrader if isinstance(nbgrader, dict) else {},
        tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
    )


def plain_text(value: Any) -> str:
    """Return a notebook's multi-line text as one string that can be written as UTF-8."""
    if isinstance(value, (list, tuple)):
        value = "".join(line for line in value if isinstance(line, str))
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", errors="replace").decode("utf-8")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


# --- what is kept, made harmless ----------------------------------------------------------------------------


Pictures = dict[str, dict[str, str]]  # by name, then by MIME type: in base64


def clean_text(
    cell: Submitted, *, parse: bool = True, ours: Pictures | None = None, room: Room | None = None
) -> tuple[str, Pictures, list[str]]:
    """Return the Markdown of a cell, made harmless, the pictures pasted into it, and notes on what is not shown.

    `ours` are pictures of the course's own cell, which the text may still show. `room` is that of the whole page.
    Without `parse` no parser meets the cell: it becomes a block of text, without pictures.
    """
    if not parse:
        return in_a_fence(cell.source), {}, []
    pasted, wrong = _clean_attachments(cell.attachments)
    asked, missing = pictures_asked_for(cell.source, pasted, ours or {}, room or Room())
    wrong |= {name: why for name, why in missing.items() if find(wrong, name) is None}
    attachments = pasted | asked
    notes = [f"the picture {plain(name, 80)} {why}; its name is shown" for name, why in wrong.items()]
    return harmless_markdown(cell.source, attachments), attachments, summed_up(notes, "pictures not shown")


def pictures_asked_for(
    source: str, pasted: Pictures, ours: Pictures, room: Room
) -> tuple[Pictures, dict[str, str]]:
    """Return the pictures that Markdown shows, by the names that it has for them; and why some are not there.

    nbconvert decodes no name, and makes no page where one is missing. So what is not there is an empty picture, of
    which browsers show the words.
    """
    found: Pictures = {}
    missing = {}
    urls = asked_for(source) if "attachment:" in source else []
    for name, times in Counter(url[11:] for url in urls if url.startswith("attachment:")).items():
        known = next((some[key] for some in (pasted, ours) if (key := find(some, name)) is not None), None)
        if known is None:
            missing[name] = "is not in the notebook"
        elif not room.take(times * sum(map(len, known.values()))):
            missing[name] = "would be shown more often than a page has room"
        found[name] = {PICTURES[0]: ""} if name in missing or known is None else known
    return found, missing


def _clean_attachments(attachments: Any) -> tuple[Pictures, dict[str, str]]:
    """Return the pictures pasted into a cell of text, within the limits, and why others are not kept."""
    kept, wrong, room = {}, {}, MAX_OUTPUT
    for name, data in attachments.items() if isinstance(attachments, dict) else ():
        name, data = plain_text(name), data if isinstance(data, dict) else {}
        mime = next((mime for mime in KINDS if mime in data), "")
        picture = plain_text(data.get(mime))
        if not mime:
            why = f"is {plain(', '.join(map(str, data)), 80) or 'empty'}, not PNG, JPEG or GIF"
        elif not picture or not _BASE64.fullmatch(picture):
            why = "is no data of a picture"
        elif len(picture) > room:
            why = f"is one too many: those of a cell may have {MAX_OUTPUT >> 20} MiB"
        elif not (why := problem(decoded(picture))):
            kept[name] = {mime: picture}
            room -= len(picture)
            continue
        wrong[name] = why
    return kept, wrong


def clean_outputs(outputs: Any, *, parse: bool = True) -> list[dict[str, Any]]:
    """Return well-formed copies of a stranger's outputs: known kinds, known types, text, within the limit.

    Scripts, widgets and SVG (which can carry scripts) are dropped, HTML and Markdown made harmless, or dropped
    too without `parse`.
    """
    kept, room = [], MAX_OUTPUT
    for output in outputs if isinstance(outputs, list) else []:
        clean = _clean_output(output, parse) if isinstance(output, dict) else None
        if clean is None:
            continue
        room -= len(json.dumps(clean))
        if room < 0:
            kept.append({"output_type": "stream", "name": "stdout", "text": "... output truncated ...\n"})
            break
        kept.append(clean)
    return kept


def clean_apart(cells: list[Any]) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """Return what `clean_outputs` gives for the outputs of each cell, and notes; parsers run in a child process.

    Where its clock or its limit on memory ends them, no parser meets the outputs.
    """
    parsed = (
        mime in PARSED
        for outputs in cells
        for output in (outputs if isinstance(outputs, list) else ())
        if isinstance(output, dict) and isinstance(output.get("data"), dict)
        for mime in output["data"]
    )
    if not any(parsed):
        return [clean_outputs(outputs) for outputs in cells], []
    try:
        return apart.call(f"{__name__}:clean_each", cells), []
    except apart.Ended as error:
        told = f"what its cells show as HTML or Markdown {error}; it is dropped"
        return [clean_outputs(outputs, parse=False) for outputs in cells], [told]


def clean_each(cells: list[Any]) -> list[list[dict[str, Any]]]:
    """Return what `clean_outputs` gives for the outputs of each cell: the work of a child."""
    return [clean_outputs(outputs) for outputs in cells]


def warm_up() -> None:
    """Import the parsers, once for all children."""
    html.warm_up()


def _clean_output(output: dict[str, Any], parse: bool) -> dict[str, Any] | None:
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
    for mime, harmless in (("text/html", html_within_limits), ("text/markdown", harmless_markdown)):
        if (theirs := data.pop(mime, None)) is None:
            continue
        if (text := harmless(theirs) if parse else None) is not None:
            data[mime] = str(text)
        else:
            data.setdefault("text/plain", f"[{mime} of {len(theirs)} characters: too much to be shown]")
    if kind == "display_data" and not data:
        return None
    clean = {"output_type": kind, "data": data, "metadata": {}}
    if kind == "execute_result":
        count = output.get("execution_count")
        clean["execution_count"] = count if type(count) is int else None
        data.setdefault("text/plain", "")
    return clean
