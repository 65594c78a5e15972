"""A server of the submission's under test: it runs in the sandbox, and whoever asks it stands outside.

The worker calls the student's function, which serves until SIGTERM. Its network has no way out; a trusted process
that was born into it hands the examiner sockets (`Job.dial`), and the examiner connects them. So connections that say
half a request, nothing, or too much are the examiner's own, and what comes back is read by readers of ours.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grader.examine.checks import StudentError, TimedOut, Undecided
from grader.examine.job import GRACE, Job
from grader.examine.service.exchange import Exchange, Load, Reply
from grader.examine.service.grpc import GrpcAnswer, GrpcExchange
from grader.examine.service.http1 import MOST_BODY, Answer, HttpExchange, Malformed, Reader
from grader.examine.service.keeper import Keeper
from grader.examine.service.questions import Ended, Grpc, Http
from grader.examine.service.stub import Model
from grader.examine.whereabouts import explain_slow
from grader.sandbox import procfs
from grader.sandbox.cgroup import Usage
from grader.text import plain

HOST = "127.0.0.1"
_PORTS = range(20_000, 30_000)  # below those that the kernel gives to clients
_PATIENCE = 0.01  # seconds in which nobody may answer half a head
_POLL = 0.02  # seconds between two looks at whether somebody listens


class Server:
    """A submission's server that runs. `Submission.serve` makes one."""

    def __init__(
        self,
        job: Job,
        begin: Callable[[Job], None],
        broken: Callable[[Job], StudentError],
        let_go: Callable[[Job], None],
        *,
        ports: Sequence[str],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        model: Model | None,
        deadline: float,
        ready: float,
        stretch: float,
        files: Sequence[str],
        source: Callable[[str], str],
        asked: Callable[[str, Any], None],
    ):
        """Call the function and wait until each of `ports` accepts a connection.

        `begin(job)` waits until the worker has imported the submission, `broken(job)` says why it ended,
        `let_go(job)` ends the job. Raises StudentError where nothing listens after `ready` seconds.
        """
        self._job, self._broken, self._let_go, self._asked = job, broken, let_go, asked
        self._deadline, self._stretch, self._files, self._source = deadline, stretch, files, source
        self.ports = dict(zip(ports, _free(len(ports), job.is_apart), strict=True))
        """The number of each port, by the name of the argument with which the function was told."""
        self.model = model
        self._loads: list[Load] = []
        self._closed = False
        self._keeper = Keeper(job, model, stretch, self._give_up)
        self._over = self._keeper.over
        try:
            begin(job)
            self._members = self._own_members()
            self._key = secrets.token_hex(8)
            call = {"args": list(args), "kwargs": {**kwargs, **self.ports}, "in_place": False}
            call |= {"answer": self._key, "host": "model" if model is not None else ""}
            job.send(0, call, deadline)
            self._keeper.start()
            self._wait_for_ports(ready * stretch)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            self._keeper.raise_problem()

    def close(self) -> None:
        """End every process of the server, and every question on its way."""
        if self._closed:
            return
        self._closed = True
        for load in self._loads:
            load.stop()
        self._keeper.stop()
        self._let_go(self._job)

    def connect(self, port: str = "", timeout: float = 10.0) -> socket.socket:
        """Return a TCP socket that is connected to the server; whatever goes over it is yours to write and read.

        `port` is a name of `ports`, the first where none is given; `timeout` (seconds) is set on the socket. Raises
        StudentError where nothing accepts.
        """
        name = port or next(iter(self.ports))
        sock, allowed = self._job.dial(), self._allowed(timeout)
        sock.settimeout(allowed)
        try:
            sock.connect((HOST, self.ports[name]))
        except OSError as error:
            sock.close()
            refused = error.errno == errno.ECONNREFUSED
            what = f"nothing listens on {name} any more" if refused else "no connection was accepted"
            raise self._failure(f"{what} on {name}" if not refused else what, gone=refused) from None
        return sock

    def read(self, sock: socket.socket, *, method: str = "GET", timeout: float = 10.0) -> Answer:
        """Return one answer of HTTP/1.1 from a socket of `connect`, on which another question may follow.

        `method` is that of the request. Raises StudentError where no whole answer comes within `timeout` seconds.
        """
        reader, started, allowed = Reader(method), time.perf_counter(), self._allowed(timeout)
        try:
            while not reader.done:
                left = started + allowed - time.perf_counter()
                if left <= 0:
                    raise TimeoutError
                sock.settimeout(left)
                data = sock.recv(1 << 16)
                if data:
                    reader.feed(data)
                else:
                    reader.end()
        except TimeoutError:
            raise TimedOut(f"no answer within {allowed:.3g} s: {reader.where()}") from None
        except Malformed as error:
            raise self._failure(f"your server {error}", gone=not reader.begun) from None
        except OSError as error:
            what = f"the connection broke ({error.strerror or error}); {reader.where()}"
            raise self._failure(what, gone=True) from None
        return reader.answer(time.perf_counter() - started)

    def http(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        headers: Mapping[str, str | None] | None = None,
        timeout: float = 10.0,
        port: str = "",
    ) -> Answer:
        """Ask one question of HTTP/1.1 on a connection of its own, and return the answer.

        A `body` that is not bytes is sent as JSON. `headers` replace those that are sent anyway; None leaves one
        out. Raises StudentError where the answer is not whole, no HTTP/1.1, or not there after `timeout` seconds.
        """
        return self._one(Http(method, path, body, headers or {}, port), timeout)

    def grpc(
        self,
        method: str,
        message: bytes,
        *,
        metadata: Sequence[tuple[str, str]] = (),
        timeout: float = 10.0,
        port: str = "",
    ) -> GrpcAnswer:
        """Call `"package.Service/Method"` of gRPC with the bytes of one message, and return its answer.

        `port` is the last of the server's where none is given. A status other than OK is an answer too. Raises
        StudentError where no answer of gRPC comes within `timeout` seconds, Undecided without the package h2.
        """
        return self._one(Grpc(method, message, tuple(metadata), port), timeout)

    def many(
        self,
        questions: Sequence[Http | Grpc],
        *,
        at: float | Sequence[float] | None = None,
        timeout: float = 10.0,
    ) -> list[Reply]:
        """Ask many questions, each on a connection of its own, and return a reply to each; see `load`."""
        return self.load(questions, at=at, timeout=timeout).replies()

    def load(
        self,
        questions: Sequence[Http | Grpc],
        *,
        at: float | Sequence[float] | None = None,
        timeout: float = 10.0,
    ) -> Load:
        """Begin to ask many questions, and return at once; `.replies()` waits for what comes of them.

        `at` says when each is meant to be sent: so many a second, or seconds from now, one for each; all at once
        without it. That is an open loop: no question waits for the answer to another, and times count from the
        intended send. At most 500 connections are open at one time. A question that fails is a reply with an
        `error`, and raises nothing. Raises ValueError for more than 10,000 questions.
        """
        if at is None:
            offsets = [0.0] * len(questions)
        elif isinstance(at, (int, float)):
            offsets = [number / at for number in range(len(questions))]
        else:
            offsets = sorted(map(float, at))
        if len(offsets) != len(questions):
            raise ValueError(f"{len(offsets)} times for {len(questions)} questions")
        if not questions:
            raise ValueError("no questions")
        return self._load(questions, offsets, timeout)

    def terminate(self, seconds: float = 10.0) -> Ended:
        """Send SIGTERM to the server's first process, wait for its end for `seconds`, and return what came of it.

        Who listens, or lives, after the end is looked for from outside; then every process is killed, so that a
        function that says it has returned has. One that does not end goes on. Raises StudentError where the server
        had ended before.
        """
        self._keeper.raise_problem()
        if self._over.is_set():
            raise self._failure("the server was to go on until SIGTERM")
        asked = time.perf_counter()
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            self._signal()
        over = self._over.wait(self._allowed(seconds))
        took = time.perf_counter() - asked
        self._keeper.raise_problem()
        survivors = self._job.left_since(self._members) if over else None
        listening = tuple(name for name in self.ports if self._accepts(name))
        code, error = self._code() if over else (None, "")
        if over:
            self._keeper.stop()
            self._job.end()
        return Ended(code, took, asked, listening, survivors, error)

    def usage(self) -> Usage | None:
        """Return what the control group counts: `cpu_seconds`, `peak_memory` (bytes) and `processes` since the start.

        None without control groups; a field that this kernel does not count is None.
        """
        return self._job.usage()

    def freeze(self, frozen: bool) -> None:
        """Stop every process of the server where it stands, or let all go on; see `Job.freeze`."""
        self._job.freeze(frozen)

    def _load(
        self,
        questions: Sequence[Http | Grpc],
        offsets: Sequence[float],
        timeout: float,
        patience: float = 0.0,
    ) -> Load:
        for question in questions:
            self._asked(type(question).__name__, _noted(question))
        self._loads = [load for load in self._loads if load.is_running]
        exchanges = [(question, self._exchange(question, patience)) for question in questions]
        load = Load(
            *(exchanges, offsets, self._job.dial, self._address),
            timeout * self._stretch,
            self._deadline,
        )
        self._loads.append(load)
        return load

    def _give_up(self, why: BaseException) -> None:
        for load in list(self._loads):
            load.stop(why)

    def _one(self, question: Http | Grpc, timeout: float) -> Any:
        (reply,) = self._load([question], [0.0], timeout, patience=_PATIENCE).replies()
        if reply.error:
            raise self._failure(reply.error, late=reply.late, gone=reply.lost)
        return reply.found

    def _exchange(self, question: Http | Grpc, patience: float) -> Exchange:
        if isinstance(question, Grpc):
            if importlib.util.find_spec("h2") is None:
                raise Undecided(
                    "gRPC is spoken with the package h2, which is not installed here: pip install h2"
                )
            port = question.port or list(self.ports)[-1]
            return GrpcExchange(question.method, question.message, question.metadata, port)
        body, headers = question.body, dict(question.headers)
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            if "content-type" not in map(str.lower, headers):
                headers["Content-Type"] = "application/json"
        port = question.port or next(iter(self.ports))
        return HttpExchange(question.method, question.path, body, headers, port, MOST_BODY, patience)

    def _address(self, port: str) -> tuple[str, int]:
        return HOST, self.ports[port]

    def _allowed(self, seconds: float) -> float:
        left = self._deadline - time.perf_counter()
        if left <= 0:
            raise TimedOut(
                "the time of the check is over, and your server has not done all that it was asked"
            )
        return min(left, seconds * self._stretch)

    def _accepts(self, port: str) -> bool:
        with contextlib.suppress(OSError, StudentError), self._job.dial() as sock:
            sock.settimeout(1.0)
            sock.connect(self._address(port))
            return True
        return False

    def _wait_for_ports(self, seconds: float) -> None:
        waiting, started = list(self.ports), time.perf_counter()
        end = min(self._deadline, started + seconds)
        while waiting := [port for port in waiting if not self._accepts(port)]:
            if self._over.wait(_POLL):
                raise self._failure(f"nothing listened on {' and '.join(waiting)}", gone=True)
            if time.perf_counter() >= end:
                told = ", ".join(f"{name}={self.ports[name]}" for name in waiting)
                self._keeper.stop()
                where, code = explain_slow(self._job, [0], seconds, self._files, self._source)
                raise TimedOut(
                    f"nothing listens on {HOST} after {seconds:.3g} s; your function was called with {told}, and is "
                    f"to listen there ({where})",
                    yours=plain(code, 200),
                    expected="a server that accepts connections",
                )

    def _failure(self, what: str, *, late: bool = False, gone: bool = False) -> StudentError:
        """Return `what` as an error, with the end of the server in its place where that is the reason."""
        if gone:
            self._over.wait(GRACE * self._stretch)
        self._keeper.raise_problem()
        if self._job.out_of_memory() or self._over.is_set():
            code, error = self._code()
            why = error or f"your function ended with code {code}, and was to serve until SIGTERM"
            return StudentError(f"{what}: {why}", yours=self._said(), expected="a server that goes on")
        return TimedOut(what, expected="an answer") if late else StudentError(what)

    def _said(self) -> str:
        """Return the last line that the server printed to standard error."""
        lines = [line for line in self._job.text("stderr")[-4000:].splitlines() if line.strip()]
        return plain(lines[-1], 200) if lines else ""

    def _code(self) -> tuple[int | None, str]:
        """Return the exit code of a server that has ended, and what it raised; None of one that still runs."""
        if self._job.out_of_memory():
            self._keeper.stop()
            return -signal.SIGKILL, self._broken(self._job).why
        code = self._keeper.code(self._key)
        if code is not None or not self._over.is_set():
            return code, ""
        self._keeper.stop()
        self._keeper.give_back()
        return 1, self._broken(self._job).why

    def _own_members(self) -> set[int] | None:
        """Return the processes that are not the submission's doing: what it forked as it was imported is."""
        members = self._job.members()
        if members is None:
            return None
        first = self._job.first_pids.get(0, 0)
        with contextlib.suppress(OSError, ValueError):
            return members & {first, procfs.oldest_child(first)[1]}
        return members

    def _signal(self) -> None:
        first = self._job.first_pids[0]
        if sys.platform == "linux":
            procfs.signal_child(first, signal.SIGTERM)
        else:
            import psutil

            psutil.Process(first).children()[0].send_signal(signal.SIGTERM)


def _free(count: int, apart: bool) -> list[int]:
    """Return ports on which nothing listens: any in a network of its own, else such as the kernel gives."""
    if apart:
        return secrets.SystemRandom().sample(_PORTS, count)
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in found:
            sock.bind((HOST, 0))
        return [sock.getsockname()[1] for sock in found]


def _noted(question: Http | Grpc) -> list[Any]:
    """Return what a question consists of, as the wire format can hold it."""
    return [
        list(part) if isinstance(part, tuple) else dict(part) if isinstance(part, Mapping) else part
        for part in question
    ]
