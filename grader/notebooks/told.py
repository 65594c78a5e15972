"""Which names that tests bind may be told to the student's interpreter: those that hold no more than all can read.

A test's text is released without its hidden lines. A name may be told where that text binds it, what is loaded there
was bound so in turn, and no hidden line of the notebook mentions it or what was bound beside it, which may be the
same object. From the same text any student can compute it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from grader.notebooks.names import Names, names_of
from grader.notebooks.template import HIDDEN, Marks, without

_WORD = re.compile(r"[^\W\d]\w*")
# What is no code: texts in quotes, and comments. One without an end goes to the end, or each of its quotes would be
# tried anew.
_NO_CODE = re.compile(
    r"""(?P<prefix>\b[A-Za-z]{1,2})?(?:\"{3}.*?(?:\"{3}|\Z)|'{3}.*?(?:'{3}|\Z)"""
    r"""|"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?)|\#[^\n]*+""",
    re.DOTALL,
)


def words_of(text: str) -> set[str]:
    """Return all words of a text, in quotes or not."""
    return set(_WORD.findall(text))


def names_in(source: str) -> set[str]:
    """Return the words of a stranger's code that may be names, without parsing it."""

    def without(found: re.Match[str]) -> str:
        return found[0] if "f" in (found["prefix"] or "").lower() else " "

    return words_of(_NO_CODE.sub(without, source))


@dataclass
class Given:
    """What students have of one of the instructor's cells."""

    text: str
    imported: set[str]  # names that its import statements bind, and no hidden line


@dataclass
class Told:
    """Reads the instructor's cells in their order; `hidden` are the marks of lines that students do not get."""

    hidden: Marks = HIDDEN
    _open: set[str] = field(default_factory=set)
    _closed: set[str] = field(default_factory=set)  # what a hidden line binds, or what follows from that
    _hidden: set[str] = field(default_factory=set)  # words of hidden lines
    _together: list[set[str]] = field(default_factory=list)  # names that may stand for one object

    @property
    def names(self) -> set[str]:
        closed = self._closed | self._hidden
        while more := set().union(*(group for group in self._together if group & closed)) - closed:
            closed |= more
        return self._open - closed

    def look(self, source: str, names: Names, closure: Callable[[set[str]], set[str]]) -> Given:
        """Take note of a cell with these names; `closure` adds to names those that their helpers load."""
        text = without(source, self.hidden)
        given, hidden = names_of(text), words_of("\n".join(_hidden_lines(source, text)))
        self._hidden |= hidden
        self._closed |= names.binds - given.binds
        if closure(given.loads) & self._closed:
            self._closed |= names.binds
        data = given.binds - given.imported - given.defined
        self._together.append(data | (given.loads & self._open))
        self._open |= data
        return Given(text, given.imported - hidden)


def _hidden_lines(source: str, released: str) -> list[str]:
    left = iter(released.splitlines())
    awaited, hidden = next(left, None), []
    for line in source.splitlines():
        if line == awaited:
            awaited = next(left, None)
        else:
            hidden.append(line)
    return hidden
