"""The end of the tests, in whose process no code of the student runs."""

from __future__ import annotations

import signal
import socket
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

from grader.notebooks.twin.autograd import Graph, graft
from grader.notebooks.twin.copy_back import is_mutable, put_back
from grader.notebooks.twin.handles import Far, Handle, far, handle_class
from grader.notebooks.twin.news import News
from grader.notebooks.twin.nothing import Nothing
from grader.notebooks.twin.peer import (
    ERRORS,
    MAX_NESTED,
    MAX_TEXT,
    REPEAT,
    CannotCross,
    Peer,
    StudentGone,
    arguments,
    mro_of,
    text_of,
)
from grader.notebooks.twin.reader import Reader
from grader.notebooks.twin.values import Reference
from grader.notebooks.twin.writer import Writer
from grader.sandbox import wire

# Both grow with `Pristine.stretch` where the machine is slow.
GRACE = 0.8  # seconds in which the student's side may still answer after the cell has been interrupted
PATIENCE = 3.0  # seconds beyond a cell's limit until the student's side counts as stuck
_MIMES = ("image/png", "image/jpeg", "text/html", "text/plain", "text/latex")


class Pristine(Peer):
    """The end of the tests."""

    trusted = True

    def __init__(self, sock: socket.socket, names: dict[str, Any], classes: list[str]):
        super().__init__(sock, names, classes)
        self.gone = ""  # why the student's side can say no more
        self.refusals: list[str] = []  # of the cell that runs
        self.nothing = Nothing()  # of the cell that runs
        self.copy_back = (
            False  # whether what a call changed in the student's names and arguments changes here too
        )
        self.compare = False  # whether the student's side may see what its objects are compared with
        self.deadline = 0.0  # time.monotonic() at which the cell is interrupted
        self.stretch = 1.0  # of what the student's side is given beyond that, see `Place.stretch`
        self.show: Callable[[str, Any], None] = lambda kind, value: None  # what the student printed
        self.news = News(names, classes)
        self.calls = 0
        self._callables: list[Any] = []
        self._callable_numbers: dict[int, int] = {}
        self._handles: weakref.WeakValueDictionary[int, Handle] = weakref.WeakValueDictionary()
        self._errors: dict[tuple[str, ...], type[BaseException]] = {}
        self._running = False  # a cell that `begin` started
        self._owed = 0  # answers that are still to come

    # -- asking

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the student's object with this number."""
        return self.request({"op": "call", "id": number}, args, kwargs)

    def request(
        self, head: dict[str, Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Ask and return the answer; raises what the student's code raised, or CannotCross."""
        kwargs = kwargs or {}
        self._settle()
        writer = self.writer()
        if head["op"] == "call":
            writer.tensors = []
        try:
            message = {
                **head,
                **self.news.collect(writer),
                "a": [writer.write(value) for value in args],
                "k": {name: writer.write(value) for name, value in kwargs.items()},
                "back": self._data_names() if self.copy_back else None,
                # A little more than is left here, so that it is here that the cell is interrupted first.
                "wall": round(max(0.05, self.deadline - time.monotonic()) + 0.1, 3),
            }
            frame = wire.pack(message, writer.blobs)
        except wire.WireError as error:
            raise self.refuse(str(error)) from None
        self.calls += 1
        answer, reader = self._exchange(frame)
        try:
            names = message["back"] or []
            value, error = self._read_answer(answer, reader, writer, (*args, *kwargs.values()), names)
        except (wire.WireError, *wire.MALFORMED) as wrong:
            self.gone = f"the student's process sent what is no answer ({wrong})"
            raise self.refuse(self.gone, StudentGone) from None
        self.nothing.look(head, args, value, error)
        if error is not None:
            raise error
        return value

    def run_there(self, cell: dict[str, Any], wall: float) -> list[dict[str, Any]]:
        """Run a cell on the student's side and return its outputs, whatever they claim to be."""
        self.begin(cell, wall)
        # The cell may call what earlier tests have bound, which runs here, within the time of the cell.
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, wall + PATIENCE * self.stretch, REPEAT)
        try:
            outputs = self.finish()
        except KeyboardInterrupt:
            raise self.refuse(f"the cell ran longer than {wall:g} s", StudentGone) from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if type(outputs) is not list or not all(type(output) is dict for output in outputs):
            self.gone = "the student's process sent what are no outputs"
            raise self.refuse(self.gone, StudentGone)
        return outputs

    def begin(self, cell: dict[str, Any], wall: float) -> None:
        """Have a cell run on the student's side, at the same time as what runs here until `finish`."""
        self._settle()
        writer = self.writer()
        try:
            frame = wire.pack(
                {"op": "cell", **cell, "limit": wall, **self.news.collect(writer, cell=True)}, writer.blobs
            )
        except wire.WireError as error:
            raise self.refuse(str(error)) from None
        self.sock.settimeout(wall + PATIENCE * self.stretch)
        self._owed += 1
        self._send(frame)
        self._running = True

    def finish(self) -> Any:
        """Wait for the cell that `begin` started, where there is one, and return its outputs."""
        if not self._running:
            return None
        self._running = False
        try:
            message, reader = self._answer()
            return reader.read(message["v"])
        except TimeoutError:
            self.gone = "a cell of the student's did not stop when it was interrupted"
        except (OSError, EOFError):
            self.gone = "the student's process has ended"
        except (wire.WireError, *wire.MALFORMED) as error:
            self.gone = f"the student's process sent what is no answer ({error})"
        finally:
            self.sock.settimeout(None)
        raise self.refuse(self.gone, StudentGone)

    def pull(self, names: list[str]) -> None:
        """Bind these names here to what the student's side has under them; unbind those that it lacks."""
        wanted = [name for name in names if name in self.news.student_names]
        if not wanted:
            return
        found = self.request({"op": "names", "names": wanted})
        for name in wanted:
            self.names.pop(name, None)
            self.news.known.pop(name, None)
            if type(found) is dict and name in found:
                self.names[name] = self.news.known[name] = found[name]

    def refuse(self, why: str, kind: type[CannotCross] = CannotCross) -> CannotCross:
        """Return the exception that says why, and make sure that the cell fails by it whatever catches it."""
        self.refusals.append(why)
        return kind(why)

    def _exchange(self, frame: bytes) -> tuple[dict[str, Any], Reader]:
        """Send a request, serve the callbacks that come before its answer, and return the answer."""
        try:
            self.finish()
            self._owed += 1
            self._send(frame)
            return self._answer()
        except (wire.WireError, *wire.MALFORMED) as error:
            self.gone = f"the student's process sent what is no answer ({error})"
        except TimeoutError:
            self.gone = "the student's process did not answer in time"
        except (OSError, EOFError):
            self.gone = "the student's process has ended"
        raise self.refuse(self.gone, StudentGone) from None

    def _answer(self) -> tuple[dict[str, Any], Reader]:
        """Return the answer to what was asked, and serve the callbacks that come before it."""
        while True:
            message, reader = self._receive()
            if message["op"] in ("ret", "exc"):
                self._owed -= 1
                return message, reader
            self._send(self._serve(message, reader))

    def _send(self, frame: bytes) -> None:
        try:
            self.sock.sendall(frame)
        except KeyboardInterrupt:
            self.gone = "the student's process did not take what it was sent"
            raise

    def _receive(self) -> tuple[dict[str, Any], Reader]:
        try:
            return self.receive()
        except KeyboardInterrupt:
            self._await_the_end()
            raise

    def _await_the_end(self) -> None:
        """Wait for the answer of an interrupted request: the student's side is interrupted at the same time."""
        # The interrupts that follow the first would cut this short. They are put off, not stopped: the socket's
        # timeout bounds one read, and an answer that trickles has many.
        _, repeat = signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, 1.2 * GRACE * self.stretch if repeat else 0, repeat)
        self.sock.settimeout(GRACE * self.stretch)
        try:
            self._take_answer()
        except (OSError, EOFError, wire.WireError, KeyboardInterrupt):
            self.gone = "the student's process did not stop when it was interrupted"
        finally:
            self.sock.settimeout(None)
            signal.setitimer(signal.ITIMER_REAL, repeat, repeat)

    def _take_answer(self) -> None:
        """Take an answer that nobody waits for any more; raises EOFError for anything else."""
        if self.receive()[0]["op"] not in ("ret", "exc"):
            raise EOFError
        self._owed -= 1

    def _settle(self) -> None:
        """Take what answers are still on their way: the next question would get them.

        An interrupt that strikes between the sending of a question and the wait for its answer leaves one there.
        """
        if not self.gone and not self.nested and self._owed > self._running:
            self.sock.settimeout(GRACE * self.stretch)
            try:
                while self._owed:
                    self._take_answer()
            except (OSError, EOFError, wire.WireError):
                self.gone = "the student's process did not stop when it was interrupted"
            finally:
                self.sock.settimeout(None)
        if self.gone:
            raise self.refuse(self.gone, StudentGone)

    def _read_answer(
        self, message: dict[str, Any], reader: Reader, writer: Writer, args: tuple[Any, ...], names: list[str]
    ) -> tuple[Any, BaseException | None]:
        """Return the value of an answer, or the exception that it stands for."""
        for output in message["out"]:
            self._show(output)
        if message["op"] == "exc":
            return None, self._error(message, reader)
        if writer.tensors is not None and "call" in message:
            graph = Graph(self, message["call"], writer.tensors)
            reader.graft = lambda slot, value: graft(graph, slot, value)
        value = reader.read(message["v"])
        self.nothing.met |= reader.nothing
        reader.graft = None
        if self.copy_back and "back" in message:
            changed = [reader.read(node) for node in message["back"]]
            for original, new in zip((*args, *map(self.names.get, names)), changed, strict=True):
                put_back(original, new)
            for name, new in zip(names, changed[len(args) :], strict=True):
                if type(self.names.get(name)) is not type(new) or not is_mutable(new):
                    self.names[name] = self.news.known[name] = new
        return value, None

    def _data_names(self) -> list[str]:
        """Return the student's names that stand for plain data here: a call may bind or change them."""
        known = self.news.known.keys() & self.news.student_names
        return sorted(
            name
            for name in known
            if not callable(value := self.names.get(name)) and not isinstance(value, Reference)
        )

    def _show(self, output: Any) -> None:
        kind = output["output_type"]
        if kind == "stream" and type(output["text"]) is str:
            print(output["text"], end="", file=sys.stderr if output["name"] == "stderr" else sys.stdout)
        elif kind == "display_data":
            data = {mime: output["data"][mime] for mime in _MIMES if type(output["data"].get(mime)) is str}
            self.show("display_data", data)

    def forget(self, number: int, times: int) -> None:
        self.news.done.append([number, times])

    def forget_graph(self, call: int) -> None:
        self.news.graphs.append(call)

    # -- what the student's side sends

    def hold(self, value: Any) -> Any:
        if id(value) not in self._callable_numbers:
            self._callable_numbers[id(value)] = len(self._callables)
            self._callables.append(value)
        return {"cb": self._callable_numbers[id(value)]}

    def find(self, tag: str, body: Any) -> Any:
        if tag != "h":
            raise wire.WireError("an unknown tag")
        number, name, can, bases, errors = body
        if type(number) is not int or not all(type(word) is str for word in (name, *can, *bases, *errors)):
            raise wire.WireError("a handle that is none")
        if errors:
            return self._error_class(errors)
        if (handle := self._handles.get(number)) is None:
            handle = handle_class(name, tuple(sorted(can)))(Far(self, number, bases))
            self._handles[number] = handle
        far(handle).times += 1
        return handle

    def _serve(self, message: dict[str, Any], reader: Reader) -> bytes:
        """Return the answer to the one thing that the student's side may ask: a call of what it was handed."""
        number = message.get("id")
        if message["op"] != "cb" or type(number) is not int or number < 0 or self.nested >= MAX_NESTED:
            raise wire.WireError("a request that it may not make")
        function = self._callables[number]
        args, kwargs = arguments(reader, message)
        self.nothing.met |= reader.nothing
        for output in message["out"]:
            self._show(output)
        writer = self.writer()
        self.nested += 1
        try:
            answer = {"op": "ret", "v": writer.write(function(*args, **kwargs))}
            return wire.pack(answer, writer.blobs)
        except StudentGone:
            raise
        except KeyboardInterrupt:
            self._send(wire.pack({"op": "exc", "mro": ["KeyboardInterrupt"], "text": ""}, []))
            self._await_the_end()
            raise
        except BaseException as error:
            return wire.pack({"op": "exc", "mro": mro_of(error), "text": text_of(error)}, [])
        finally:
            self.nested -= 1

    def _error(self, message: dict[str, Any], reader: Reader) -> BaseException:
        mro, text = message["mro"], message["text"]
        if type(text) is not str or not mro or not all(type(name) is str for name in mro[:50]):
            raise wire.WireError("an exception that is none")
        if mro[0] == "KeyboardInterrupt":
            return KeyboardInterrupt()
        if mro[0] == "Refused":
            return self.refuse(text[:MAX_TEXT])
        kind = self._error_class(mro[:50])
        args = reader.read(message["args"])
        if issubclass(kind, SyntaxError) and type(args) is tuple:
            args = args[:1]  # the rest is a place in a file, and whoever shows the error reads it, here
        try:
            error = kind(*args) if type(args) is tuple else kind(text[:MAX_TEXT])
        except (TypeError, ValueError):  # some built-in exceptions are particular about their arguments
            error = RuntimeError(f"{kind.__name__}: {text[:MAX_TEXT]}")
        if type(trace := message.get("trace")) is str and trace:
            error.add_note(trace[:MAX_TEXT])
        return error

    def _error_class(self, mro: list[str]) -> type[BaseException]:
        """Return the exception class for the names of a student's class and its bases."""
        known = next((name for name in mro if name in ERRORS), "Exception")
        if known == mro[0] or mro[0] == "BaseException":
            return ERRORS[known]
        key = tuple(mro)
        if key not in self._errors:
            self._errors[key] = type(mro[0][:80] or "Error", (ERRORS[known],), {})
        return self._errors[key]
