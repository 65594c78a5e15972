"""Many questions to one server at once, each sent when it was meant to be: an open loop, in one thread.

An open loop asks at the times that were decided before, whether the server keeps up or not, and counts from the
*intended* send. A client that waits for one answer before it asks again is slowed down by a slow server, and then
reports the times of the few questions that it got to ask.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grader.examine.checks import StudentError
from grader.examine.service.http1 import Malformed

MOST_QUESTIONS = 10_000
MOST_RECEIVED = 256 << 20  # bytes, all answers of a load together
MOST_OPEN = 500  # connections at one time; what is due then waits, and its waiting counts
LINGER = 0.25  # seconds that a server may take to close; what it sends in them is too much
_CHUNK = 1 << 16
_LOOK = 0.02  # seconds between two looks at whose time is over
_FINE = 0.001  # seconds below which a selector does not tell times apart


class Exchange(Protocol):
    """One question and its answer, by a protocol: what is to be sent, and what is made of what comes."""

    label: str
    port: str
    linger: bool  # whether the server closes the connection itself
    patience: float  # seconds in which nothing may come to what `outgoing` gives first

    def outgoing(self) -> bytes: ...

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    @property
    def begun(self) -> bool: ...

    @property
    def done(self) -> bool: ...

    def answer(self, seconds: float) -> Any: ...

    def where(self) -> str: ...


@dataclass(frozen=True)
class Reply:
    """What came of one question of a load: an answer, or why there is none. Times are `time.perf_counter`'s."""

    question: Any
    found: Any
    error: str
    """Why there is no answer, in words; empty where there is one."""
    refused: bool
    """The connection was not accepted: nothing listened, or the queue of connections was full."""
    late: bool
    """Its time was over."""
    lost: bool
    """No connection was made, or it broke or was closed before anything of an answer had come."""
    intended: float
    sent: float
    """When the first byte went out; 0 where none did."""
    done: float

    @property
    def seconds(self) -> float:
        """From the intended send to the last byte of the answer, or to its failure."""
        return self.done - self.intended

    @property
    def answer(self) -> Any:
        """The answer; raises StudentError where there is none."""
        if self.error:
            raise StudentError(self.error)
        return self.found


class _Open:
    """One exchange on its connection."""

    def __init__(
        self, number: int, exchange: Exchange, sock: socket.socket, intended: float, deadline: float
    ):
        self.number, self.exchange, self.sock = number, exchange, sock
        self.intended, self.deadline = intended, deadline
        self.connected, self.waiting = False, bytearray()
        self.sent = self.finished = 0.0

    def fail(self, why: str) -> tuple[Any, str]:
        return None, f"{self.exchange.label}: {why}"


class Load:
    """Questions on their way. `replies` waits for all of them."""

    def __init__(
        self,
        exchanges: Sequence[tuple[Any, Exchange]],
        offsets: Sequence[float],
        dial: Callable[[], socket.socket],
        address: Callable[[str], tuple[str, int]],
        timeout: float,
        last: float,
    ):
        """Ask each exchange at its offset (seconds from now, ascending), in a thread of its own.

        `dial` makes an unconnected socket of the server's network, `timeout` bounds each question (seconds from the
        intended send), and nothing goes on after `last` (perf_counter).
        """
        if len(exchanges) > MOST_QUESTIONS:
            raise ValueError(f"{len(exchanges)} questions at once; at most {MOST_QUESTIONS:,} are sent")
        self._exchanges, self._offsets, self._dial, self._address = exchanges, offsets, dial, address
        self._timeout, self._last = timeout, last
        self._replies: dict[int, Reply] = {}
        self._error: BaseException | None = None
        self._stopped, self._received = False, 0
        # Made before they are due, so that no question waits for its socket.
        self._ready = deque(dial() for _ in exchanges[:MOST_OPEN])
        self.began = time.perf_counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether questions are still on their way."""
        return self._thread.is_alive()

    def stop(self, why: BaseException | None = None) -> None:
        """Give up what is still on its way, which gets no reply: whoever waits for the replies gets `why` raised."""
        if self._thread.is_alive():
            self._error = why
        self._stopped = True
        self._thread.join()

    def replies(self) -> list[Reply]:
        """Wait until every question has its answer, or failed; return the replies in the order of the questions."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return [reply for _, reply in sorted(self._replies.items())]

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                try:
                    self._ask_all(selector)
                finally:
                    for key in list(selector.get_map().values()):
                        key.data.sock.close()
        except BaseException as error:  # whoever waits for the replies gets it
            self._error = error
        finally:
            for sock in self._ready:
                sock.close()

    def _ask_all(self, selector: selectors.BaseSelector) -> None:
        waiting, looked = deque(range(len(self._exchanges))), 0.0
        while (waiting or selector.get_map()) and not self._stopped:
            now = time.perf_counter()
            while waiting and len(selector.get_map()) < MOST_OPEN and now >= self._due(waiting[0]):
                self._open(selector, waiting.popleft())
            for key, events in selector.select(self._patience(selector, waiting)):
                self._step(selector, key.data, events)
            now = time.perf_counter()
            if now < looked + _LOOK:
                continue
            looked = now
            for one in [key.data for key in selector.get_map().values()]:
                if now >= one.deadline:
                    self._out_of_time(selector, one)

    def _due(self, number: int) -> float:
        return self.began + self._offsets[number]

    def _patience(self, selector: selectors.BaseSelector, waiting: deque[int]) -> float:
        """Return how long to wait for bytes: until a question is due, or those that wait are to be looked at."""
        if not waiting or len(selector.get_map()) >= MOST_OPEN:
            return _LOOK
        left = min(_LOOK, max(0.0, self._due(waiting[0]) - time.perf_counter()))
        if left < _FINE:
            time.sleep(left)
            return 0.0
        return left - _FINE

    def _open(self, selector: selectors.BaseSelector, number: int) -> None:
        _, exchange = self._exchanges[number]
        sock = self._ready.popleft() if self._ready else self._dial()
        sock.setblocking(False)
        intended = self._due(number)
        one = _Open(number, exchange, sock, intended, min(self._last, intended + self._timeout))
        code = sock.connect_ex(self._address(exchange.port))
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
        if code not in (0, errno.EINPROGRESS):
            self._refused(selector, one, code)

    def _step(self, selector: selectors.BaseSelector, one: _Open, events: int) -> None:
        try:
            if not one.connected:
                if code := one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self._refused(selector, one, code)
                    return
                one.connected = True
                if events & selectors.EVENT_READ or self._answers_early(selector, one):
                    self._early(selector, one)
                    return
            if events & selectors.EVENT_READ and self._read(selector, one):
                return
            self._write(selector, one)
        except Malformed as error:
            self._finish(selector, one, *one.fail(str(error)))
        except OSError as error:
            what = f"the connection broke ({error.strerror or error}); {one.exchange.where()}"
            self._finish(selector, one, *one.fail(what))

    def _answers_early(self, selector: selectors.BaseSelector, one: _Open) -> bool:
        """Send what says nothing yet, and return whether an answer comes to that."""
        if not one.exchange.patience:
            return False
        self._write(selector, one)
        one.sock.settimeout(one.exchange.patience)
        try:
            one.sock.recv(1, socket.MSG_PEEK)
            return True
        except TimeoutError:
            return False
        finally:
            one.sock.setblocking(False)
            one.intended = time.perf_counter()

    def _early(self, selector: selectors.BaseSelector, one: _Open) -> None:
        """Something is there before anything was asked: HTTP/2 begins so, HTTP/1.1 does not."""
        data = self._receive(one)
        if not data:
            self._finish(selector, one, *one.fail("the connection was closed before anything was asked"))
        elif one.exchange.linger:
            self._finish(selector, one, *one.fail("answered before it was asked"))
        else:
            one.exchange.feed(data)
            self._write(selector, one)

    def _read(self, selector: selectors.BaseSelector, one: _Open) -> bool:
        """Take what is there; return whether the exchange has ended."""
        data = self._receive(one)
        was_done = one.finished
        if data:
            one.exchange.feed(data)
        else:
            one.exchange.end()
        if one.exchange.done and not was_done:
            one.finished = time.perf_counter()
            one.deadline = min(one.deadline, one.finished + LINGER)
        if one.exchange.done and (not data or not one.exchange.linger):
            self._finish(selector, one, one.exchange.answer(one.finished - one.intended), "")
            return True
        return False

    def _receive(self, one: _Open) -> bytes:
        data = one.sock.recv(_CHUNK)
        self._received += len(data)
        if self._received > MOST_RECEIVED:
            raise Malformed(f"sent more than {MOST_RECEIVED >> 20} MiB to one load of questions")
        return data

    def _write(self, selector: selectors.BaseSelector, one: _Open) -> None:
        one.waiting += one.exchange.outgoing()
        if one.waiting:
            one.sent = one.sent or time.perf_counter()
            try:
                del one.waiting[: one.sock.send(one.waiting)]
            except BlockingIOError:
                pass
            except OSError:
                # A server may answer, and close, before it has read all: what it said is still to be read.
                one.waiting.clear()
                if not one.exchange.begun:
                    with contextlib.suppress(BlockingIOError):
                        if self._read(selector, one):
                            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if one.waiting else 0)
        selector.modify(one.sock, wanted, one)

    def _refused(self, selector: selectors.BaseSelector, one: _Open, code: int) -> None:
        port = one.exchange.port
        what = (
            f"nothing listens on {port} any more" if code == errno.ECONNREFUSED else "no connection was made"
        )
        self._finish(selector, one, *one.fail(what), refused=True)

    def _out_of_time(self, selector: selectors.BaseSelector, one: _Open) -> None:
        if one.exchange.done:
            self._finish(selector, one, one.exchange.answer(one.finished - one.intended), "")
        elif not one.connected:
            what = f"its connection was not accepted within {self._timeout:.3g} s"
            self._finish(selector, one, *one.fail(what), refused=True, late=True)
        else:
            what = f"no answer within {self._timeout:.3g} s: {one.exchange.where()}"
            self._finish(selector, one, *one.fail(what), late=True)

    def _finish(
        self,
        selector: selectors.BaseSelector,
        one: _Open,
        found: Any,
        error: str,
        *,
        refused: bool = False,
        late: bool = False,
    ) -> None:
        selector.unregister(one.sock)
        one.sock.close()
        done = one.finished if one.finished and not error else time.perf_counter()
        question = self._exchanges[one.number][0]
        lost = refused or (bool(error) and not late and not one.exchange.begun)
        self._replies[one.number] = Reply(
            question, found, error, refused, late, lost, one.intended, one.sent, done
        )
