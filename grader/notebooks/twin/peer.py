"""Requests between the interpreter of the tests and the student's, over one socket.

The tests' side asks: run this cell, give me these names, call this, with these arguments. The student's side may
ask for one thing only, and only while it is asked: call a callable that was among the arguments. What the
student's side answers is data. Nothing that it sends can make the tests' side run anything.
"""

from __future__ import annotations

import builtins
import socket
from typing import Any

from grader.notebooks.twin.reader import Reader
from grader.notebooks.twin.writer import Writer
from grader.sandbox import wire

MAX_NESTED = 60  # calls of callbacks within calls
MAX_TEXT = 4000  # characters of an exception's message or of a student's traceback
REPEAT = 1.0  # seconds between interrupts of a call that swallows the first


ERRORS = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, (Exception, SystemExit))
}


class CannotCross(BaseException):
    """What a test asked for cannot be had from the other interpreter. Not an Exception: no test may expect it."""


class StudentGone(CannotCross):
    """The student's process ended, or said what is no answer."""


class Peer:
    """One end of the socket."""

    trusted: bool

    def __init__(self, sock: socket.socket, names: dict[str, Any], classes: list[str]):
        self.sock, self.names, self.classes = sock, names, classes
        self.frames = wire.Frames(wire.unpack, ahead=4096)
        self.nested = 0

    def writer(self) -> Writer:
        return Writer(trusted=self.trusted, hold=self.hold, classes=self.classes, own=self.names)

    def reader(self, blobs: list[memoryview]) -> Reader:
        return Reader(blobs, trusted=self.trusted, find=self.find, classes=self.classes, own=self.names)

    def hold(self, value: Any) -> Any:
        raise NotImplementedError

    def find(self, tag: str, body: Any) -> Any:
        raise NotImplementedError

    def receive(self) -> tuple[dict[str, Any], Reader]:
        """Block for one message; raises OSError, EOFError or WireError."""
        while (found := self.frames.receive(self.sock)) is None:
            pass
        message, blobs = found[0]
        if type(message) is not dict or type(message.get("op")) is not str:
            raise wire.WireError("a message without an operation")
        return message, self.reader(blobs)


def arguments(reader: Reader, message: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and named arguments of a message."""
    positional = [reader.read(node) for node in message["a"]]
    return positional, {str(name): reader.read(node) for name, node in message["k"].items()}


def mro_of(error: BaseException) -> list[str]:
    """Return the names of an exception's class and of those above it."""
    return [kind.__name__ for kind in type(error).__mro__]


def text_of(error: BaseException) -> str:
    """Return the message of an exception, whatever its class does."""
    try:
        return str(str(error))[:MAX_TEXT]
    except Exception as second:
        return f"(its message cannot be read: {type(second).__name__})"
