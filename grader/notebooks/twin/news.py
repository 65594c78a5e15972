"""What the tests' side tells the student's along with every question, since it changed there and matters here."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from grader.notebooks.twin.copy_back import Generators, is_mutable
from grader.notebooks.twin.writer import Writer
from grader.sandbox import wire

MAX_TOLD = (
    64 << 20
)  # bytes of one value that a test has bound and an answer may use; a larger one is not told
_GENERATORS = (np.random.Generator, np.random.RandomState)


class News:
    """Names, random states, and what is no longer needed."""

    def __init__(self, names: dict[str, Any], classes: list[str]):
        self.names, self.classes = names, classes  # of the tests' side
        self.known: dict[str, Any] = {}  # names that both sides have, with their values here
        self.student_names: set[str] = set()
        self.pushable: set[str] = (
            set()
        )  # a test binds them, the reference uses them: told with every question
        self.open: set[str] = set()  # what else a test binds that students can read: told with the next cell
        self.offers: list[str] = []  # statements of tests that students can read: imports, functions, classes
        self.done: list[list[int]] = []  # [number, times received] of handles that nobody holds any more
        self.graphs: list[int] = []  # calls whose graph nobody holds any more
        self._generators = Generators()
        self._told: dict[str, bytes] = {}

    def give(self, names: list[str]) -> None:
        """From here on these names are the student's."""
        self.student_names.update(names)
        for name in names:
            self.names.pop(name, None)
            self.known.pop(name, None)

    def know(self, names: list[str]) -> None:
        """Take note that both sides have just bound these names by the same code, and drawn the same numbers."""
        self._generators.note()
        for name in names:
            if name in self.names:
                self.known[name] = self.names[name]

    def collect(self, writer: Writer, *, cell: bool = False) -> dict[str, Any]:
        """Return the news as parts of a message, `cell` of one that has a cell run; raises WireError."""
        news: dict[str, Any] = {}
        for name in sorted(self.pushable):
            if name in self.names:
                value = self.names[name]
                mutable = name not in self.student_names and is_mutable(value)
                if mutable or self.known.get(name, self) is not value:
                    self._write(name, value, writer, news)
            elif self.known.pop(name, self) is not self:
                news.setdefault("del", []).append(name)
        if changed := self._generators.changed():
            news["random"] = writer.write(changed)
        for key in ("done", "graphs", "offers"):
            if told := getattr(self, key):
                news[key] = told
                setattr(self, key, [])
        if cell and (frames := self._changed_values()):
            news["open"] = [writer.blob(frame) for frame in frames]
        return news

    def _write(self, name: str, value: Any, writer: Writer, news: dict[str, Any]) -> None:
        try:
            news.setdefault("set", []).append([name, writer.write(value)])
        except wire.WireError as error:
            if not isinstance(value, types.ModuleType):
                raise wire.WireError(f"{name}, which a test binds and answers use: {error}") from None
            # An answer that uses a module imports it, or it is told by `offers`.
        self.known[name] = value

    def _changed_values(self) -> list[bytes]:
        """Return a frame of its own for each open name whose value is plain data, and is not as it was told last.

        Its own, since one that cannot cross must leave no trace in a message.
        """
        found, room = [], MAX_TOLD
        for name in sorted(self.open & self.names.keys()):
            frame = self._frame(name, self.names[name])
            if frame and len(frame) <= room and self._told.get(name) != frame:
                self._told[name] = frame
                found.append(frame)
                room -= len(frame)
        return found

    def _frame(self, name: str, value: Any) -> bytes:
        # As if the student's side wrote it: no function, and no iterator, which writing would use up.
        hold: Callable[[Any], Any] = _refuse
        trusted = type(value) in _GENERATORS
        writer = Writer(trusted=trusted, hold=hold, classes=self.classes, own=self.names)
        try:
            return wire.pack([name, writer.write(value)], writer.blobs)
        except (wire.WireError, RecursionError):
            return b""


def _refuse(value: Any) -> Any:
    raise wire.WireError(f"an object of the class {type(value).__qualname__} is no plain data")
