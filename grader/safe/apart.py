"""Our own parsers on what a stranger wrote, in a child process that can be ended.

Servers, forked of one process that has imported what the work needs, fork a child for each piece of it: that child
has a clock, a limit on memory, and takes with it whatever it did to itself. A server does one thing at a time, and
there is one more than there are cores, up to eight. Requests and answers are JSON. This is no sandbox: the child
runs our code, on data.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

SECONDS = 40.0  # of processor time for one call
MEMORY = 3 << 30  # bytes of address space
MAX_ANSWER = 128 << 20  # bytes
_WAIT = 20  # times the seconds until a child that does not compute is ended too
_TRIES = 3  # where somebody kills what works for us
_MOST_DEAD = 50  # servers that are met dead, one after the other
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_SIZE, _HEAD = struct.Struct("<Q"), struct.Struct("<cQ")
_RESULT, _ERROR, _TIME, _MEMORY, _KILLED = b"r", b"e", b"t", b"m", b"k"
_OUT_OF_MEMORY = 3  # exit status
_MOST = 8  # servers: to read a submission takes tens of milliseconds
_LINUX = hasattr(os, "sched_getaffinity")


class Ended(Exception):
    """The child was ended before it had an answer; the sentence says by what."""


def call(target: str, *args: Any, seconds: float = SECONDS, memory: int = MEMORY) -> Any:
    """Return what `target`, "module:function" of ours, returns for `args`: JSON values both, computed in a child.

    What is no JSON value arrives as None. A module with a function `warm_up` is warmed up once. Raises Ended where
    the child computed for `seconds`, needed `memory` bytes or crashed, RuntimeError with the text of what the
    function raised.
    """
    frame = json.dumps([target, args, seconds, memory], default=lambda _: None).encode()
    for _ in range(_TRIES):
        kind, answer = _ask(target, frame, seconds)
        if kind == _RESULT:
            return json.loads(answer)
        if kind == _ERROR:
            raise RuntimeError(answer.decode())
        if kind == _TIME:
            raise Ended(f"takes more than {seconds:g} s")
        if kind == _MEMORY:
            raise Ended(f"takes more than {memory >> 20} MiB of memory")
        if kind == _KILLED and answer != b"9":
            raise Ended(f"makes its reader crash (signal {answer.decode()})")
    raise Ended("could not be read: what reads it is killed again and again")


# --- the caller's end ---------------------------------------------------------------------------------------


@dataclass
class _Server:
    """A forked server as its caller has it."""

    sock: socket.socket
    pid: int = 0  # known once it has begun
    works: bool = True

    def takes(self, frame: bytes, deadline: float) -> bool:
        """Return whether it takes a call; it does not where it is dead. Raises TimeoutError."""
        try:
            if not self.pid:
                (self.pid,) = _SIZE.unpack(self._read(_SIZE.size, deadline))
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            self.sock.sendall(_SIZE.pack(len(frame)) + frame)
        except TimeoutError:
            raise
        except (OSError, EOFError):
            return False
        return True

    def answer(self, deadline: float) -> tuple[bytes, bytes]:
        """Return how the call ended, and what it gave. Raises TimeoutError, or OSError and EOFError where it died."""
        kind, size = _HEAD.unpack(self._read(_HEAD.size, deadline))
        return kind, self._read(size, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.sock.recv(min(size - len(found), 1 << 20))
            if not data:
                raise EOFError
            found += data
        return bytes(found)

    def end(self, *, at_work: bool) -> None:
        """Let it end, and kill it with its child where it is `at_work`: its number is nobody else's then."""
        if at_work and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.sock.close()


_idle: list[_Server] = []
_alive = 0  # idle or at work
_changed = threading.Condition()


def begin(target: str) -> None:
    """Start servers that know the module of `target`, where there are none, while the caller goes on."""
    with _changed:
        if not _alive:
            _start(target)


def _start(target: str) -> None:
    """Start as many servers as may be needed at once; descriptors that were in flight might be refused later."""
    global _alive
    count = len(os.sched_getaffinity(0)) + 1 if _LINUX else _MOST
    pairs = [socket.socketpair() for _ in range(min(count, _MOST))]
    theirs = [pair[1].fileno() for pair in pairs]
    code = "from grader.safe.apart import main; main()"
    first = subprocess.Popen(
        [sys.executable, "-I", "-c", code, target, *map(str, theirs)],
        pass_fds=theirs,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        # A Ctrl-C at the terminal is the caller's.
        start_new_session=True,
    )
    threading.Thread(target=first.wait, daemon=True).start()  # it ends when they all have
    for _, end in pairs:
        end.close()
    _idle.extend(_Server(sock) for sock, _ in pairs)
    _alive += len(pairs)


def _ask(target: str, frame: bytes, seconds: float) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + _WAIT * seconds
    for _ in range(_MOST_DEAD):
        with _server(target) as server:
            try:
                if not server.takes(frame, deadline):
                    continue  # it was killed as it waited for work, which is no fault of this
                found = server.answer(deadline)
                server.works = True
                return found
            except TimeoutError:
                return _TIME, b""
            except (OSError, EOFError):
                break
    return _KILLED, b"9"


@contextlib.contextmanager
def _server(target: str) -> Iterator[_Server]:
    """Yield a server that nobody else has meanwhile; it is ended where it does not `work` afterwards."""
    global _alive
    with _changed:
        while not _idle:
            if _alive:
                _changed.wait()
            else:
                _start(target)
        server = _idle.pop()
    server.works = False
    try:
        yield server
    finally:
        if not server.works:
            server.end(at_work=True)
        with _changed:
            _alive -= not server.works
            _idle.extend([server] if server.works else [])
            _changed.notify()


@atexit.register
def _end_all() -> None:
    with _changed:
        while _idle:
            _idle.pop().end(at_work=False)


# --- the servers --------------------------------------------------------------------------------------------


def main() -> None:
    """Entry point: `main() TARGET FD ...`. Import what the work needs, and fork a server for each socket."""
    target, *descriptors = sys.argv[1:]
    _module(target)
    gc.collect()
    gc.freeze()  # children go on sharing what no collector touches
    socks = [socket.socket(fileno=int(descriptor)) for descriptor in descriptors]
    for sock in socks:
        if not os.fork():
            os.setpgid(0, 0)  # it can be ended with its child
            for other in socks:
                if other is not sock:
                    other.close()
            with contextlib.suppress(OSError, EOFError):  # the caller has gone
                _serve(sock)
            os._exit(0)
    for sock in socks:
        sock.close()
    for _ in socks:
        os.wait()


def _serve(sock: socket.socket) -> None:
    sock.sendall(_SIZE.pack(os.getpid()))
    with sock.makefile("rb") as asked:
        while True:
            (size,) = _SIZE.unpack(_exactly(asked, _SIZE.size))
            target, args, seconds, memory = json.loads(_exactly(asked, size))
            function = getattr(_module(target), target.partition(":")[2])
            kind, answer = _in_a_child(function, args, seconds, memory, sock)
            sock.sendall(_HEAD.pack(kind, len(answer)) + answer)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _module(target: str) -> Any:
    name = target.partition(":")[0]
    if name in sys.modules:
        return sys.modules[name]
    module = importlib.import_module(name)
    if hasattr(module, "warm_up"):
        module.warm_up()
    return module


def _in_a_child(
    function: Any, args: list[Any], seconds: float, memory: int, sock: socket.socket
) -> tuple[bytes, bytes]:
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        sock.close()  # the caller hears of a server's end at once
        os._exit(_work(function, args, seconds, memory, theirs))
    os.close(theirs)
    answer = bytearray()
    while len(answer) <= MAX_ANSWER and (data := os.read(ours, 1 << 20)):
        answer += data
    os.close(ours)
    if len(answer) > MAX_ANSWER:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if len(answer) > MAX_ANSWER or status == _OUT_OF_MEMORY:
        return _MEMORY, b""
    if status == -signal.SIGXCPU:
        return _TIME, b""
    if status < 0:
        return _KILLED, str(-status).encode()
    return (_ERROR if status else _RESULT), bytes(answer)


def _work(function: Any, args: list[Any], seconds: float, memory: int, out: int) -> int:
    """Do the work of the child and return its exit status."""
    with contextlib.suppress(ValueError, OSError):  # not on every system
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # A new process has computed for no time. The kernel counts whole seconds; the first limit is the clock.
    limit = max(1, round(seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _write(out, json.dumps(function(*args)).encode())
        return 0
    except MemoryError:
        return _OUT_OF_MEMORY
    except BaseException as error:
        _write(out, f"{type(error).__name__}: {error}".encode(errors="replace"))
        return 1


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
