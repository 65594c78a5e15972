"""Notebooks out of Markdown, fences being what CommonMark says that they are.

jupytext knows fences of three backticks. In a longer one, which an author takes to show a fence, or in one of tildes,
it would find cells, and in what follows none. Such a fence is kept from it, and is text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import jupytext
import nbformat
from jupytext.cell_reader import MarkdownCellReader
from jupytext.stringparser import StringParser

_OPENS = re.compile(r"(?P<indent> {0,3})(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)$")
_CELL = MarkdownCellReader.start_code_re


@dataclass(frozen=True)
class Fence:
    """A fence that is no cell: the numbers of its first and its last line, from 0."""

    first: int
    last: int
    opening: str
    closed: bool

    @property
    def is_known_to_jupytext(self) -> bool:
        """Whether jupytext, too, ends it where it ends."""
        return bool(re.match(r"```(?!`)", self.opening)) and self.closed


def from_markdown(text: str) -> nbformat.NotebookNode:
    """Return the notebook of a text: a code cell for each fence of Python that stands in no other fence."""
    lines, hidden, kept = text.split("\n"), {}, []
    position = 0
    for fence in _fences(lines):
        if fence.is_known_to_jupytext:
            continue
        kept += lines[position : fence.first]
        position = fence.last + 1
        # A word that the text does not hold, and that is a paragraph to jupytext.
        name = f"effdl-fence-{len(hidden)}-of-{abs(hash(text)):x}"
        hidden[name] = "\n".join(lines[fence.first : position])
        kept.append(name)
    notebook = jupytext.reads("\n".join(kept + lines[position:]), fmt="md")
    for cell in notebook.cells:
        for name, fenced in hidden.items():
            cell.source = re.sub(rf"{name}\b", lambda _, fenced=fenced: fenced, cell.source)
    return notebook


def problems_of(text: str) -> Iterator[str]:
    """Yield what makes text of a cell that its author may have meant to run, one sentence each."""
    lines = text.split("\n")
    for fence in _fences(lines):
        opened = f"line {fence.first + 1} opens a fence ({fence.opening.strip()[:40]!r})"
        if not fence.closed:
            yield f"{opened} that nothing closes: what follows is text; close it"
        elif fence.is_known_to_jupytext:
            for number in range(fence.first + 1, fence.last):
                if _CELL.match(lines[number]):
                    yield (
                        f"{opened} in which line {number + 1} opens another ({lines[number].strip()!r}), which is "
                        "then text and never runs; close the first, or show the second in a fence of four backticks"
                    )
        elif fence.opening.startswith(" ") and _CELL.match(fence.opening.lstrip()):
            yield f"{opened} that is indented, and no cell; move it to the left, or show it in a fence of tildes"


def _fences(lines: list[str]) -> Iterator[Fence]:
    number = 0
    while number < len(lines):
        found = _OPENS.match(lines[number])
        if not found:
            number += 1
            continue
        fence = found["fence"]
        is_cell = _is_cell(lines[number], fence)
        last = (_end_of_cell if is_cell else _end_of_fence)(lines, number, fence)
        if last is None or not is_cell:
            yield Fence(number, len(lines) - 1 if last is None else last, lines[number], last is not None)
        number = len(lines) if last is None else last + 1


def _is_cell(line: str, fence: str) -> bool:
    """Whether a fence is a cell: a longer one is, as jupytext writes it around code that holds a fence, in Python."""
    found = _CELL.match(line)
    return found is not None and (len(fence) == 3 or found[3].lower() == "python")


def _end_of_fence(lines: list[str], first: int, fence: str) -> int | None:
    ends = re.compile(rf" {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}\s*$")
    return next((at for at in range(first + 1, len(lines)) if ends.match(lines[at])), None)


def _end_of_cell(lines: list[str], first: int, fence: str) -> int | None:
    """As jupytext: a fence within a text in quotes ends no cell."""
    parser = StringParser("python")
    for number in range(first + 1, len(lines)):
        quoted = parser.is_quoted()
        parser.read_line(lines[number])
        if not quoted and lines[number].startswith(fence):
            return number
    return None
