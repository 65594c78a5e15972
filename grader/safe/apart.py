"""Our own parsers on what a stranger wrote, in a child process that can be ended.

A server imports what the work needs once, and forks a child for each piece of it: that child has a clock, a limit on
memory, and takes with it whatever it did to itself. Several may work at a time. Requests and answers are JSON. This
is no sandbox: the child runs our code, on data.
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
from typing import Any, BinaryIO, NoReturn

SECONDS = 40.0  # of processor time for one call
MEMORY = 3 << 30  # bytes of address space
MAX_ANSWER = 128 << 20  # bytes
_WAIT = 20  # times the seconds until a child that does not compute is ended too
_TRIES = 3  # where somebody kills what works for us
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_SIZE, _HEAD = struct.Struct("<Q"), struct.Struct("<cQ")
_RESULT, _ERROR, _TIME, _MEMORY, _KILLED = b"r", b"e", b"t", b"m", b"k"
_OUT_OF_MEMORY = 3  # exit status


class Ended(Exception):
    """The child was ended before it had an answer; the sentence says by what."""


def call(target: str, *args: Any, seconds: float = SECONDS, memory: int = MEMORY) -> Any:
    """Return what `target`, "module:function" of ours, returns for `args`: JSON values both, computed in a child.

    What is no JSON value arrives as None. A module with a function `warm_up` is warmed up once. Raises Ended where
    the child computed for `seconds`, needed `memory` bytes or crashed, RuntimeError with the text of what the
    function raised.
    """
    frame = json.dumps([args, seconds, memory], default=lambda _: None).encode()
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


class _Server:
    """The server as its caller has it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", "from grader.safe.apart import main; main()"],
                stdin=theirs,
                env=_ENVIRONMENT,
                # A Ctrl-C at the terminal is the caller's; and its children can be ended with it.
                start_new_session=True,
            )

    def ask(self, target: str, answers: list[socket.socket]) -> None:
        """Have it import the module of `target`, and call that where a socket for it is given."""
        socket.send_fds(self._control, [target.encode()], [sock.fileno() for sock in answers])

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._control.close()


_server: _Server | None = None
_lock = threading.Lock()


def begin(target: str) -> None:
    """Start the server and let it import the module of `target`, while the caller goes on."""
    with contextlib.suppress(OSError):  # it was killed, and the next call finds out
        _running().ask(target, [])


def _running() -> _Server:
    global _server
    with _lock:
        if _server is None or _server.process.poll() is not None:
            _server = _Server()
        return _server


def _ask(target: str, frame: bytes, seconds: float) -> tuple[bytes, bytes]:
    server = _running()
    ours, theirs = socket.socketpair()
    with ours:
        try:
            with theirs:
                server.ask(target, [theirs])
            ours.settimeout(_WAIT * seconds)
            ours.sendall(_SIZE.pack(len(frame)) + frame)
            return _read(ours, time.monotonic() + _WAIT * seconds)
        except TimeoutError:
            server.end()  # and what else it works on, which is asked again
            return _TIME, b""
        except (OSError, EOFError):  # it was killed, waiting for us or as it worked
            return _KILLED, b"9"


def _read(answers: socket.socket, deadline: float) -> tuple[bytes, bytes]:
    found, kind, size = bytearray(), b"", _HEAD.size
    while True:
        while len(found) < size:
            answers.settimeout(max(0.001, deadline - time.monotonic()))
            data = answers.recv(min(size - len(found), 1 << 20))
            if not data:
                raise EOFError
            found += data
        if kind:
            return kind, bytes(found)
        (kind, size), found = _HEAD.unpack(found), bytearray()


@atexit.register
def _end() -> None:
    if _server is not None:
        _server.end()


# --- the server ---------------------------------------------------------------------------------------------


def main() -> None:
    """Entry point of the server: do what comes on the standard input until that ends.

    Each call is a child's, which has a child for the work, and tells how that ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(fileno=0) as control:
        while True:
            target, descriptors, _, _ = socket.recv_fds(control, 1000, 1)
            if not target:
                return
            module_name, _, function = target.decode().partition(":")
            fresh = module_name not in sys.modules
            module = importlib.import_module(module_name)
            if fresh and hasattr(module, "warm_up"):
                module.warm_up()
                gc.collect()
                gc.freeze()  # children go on sharing what no collector touches
            for descriptor in descriptors:
                if not os.fork():
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    control.close()
                    _answer(getattr(module, function), descriptor)
                os.close(descriptor)


def _answer(function: Any, descriptor: int) -> NoReturn:
    with contextlib.suppress(OSError, EOFError):  # the caller has gone
        with open(descriptor, "rb", closefd=False) as asked:
            (size,) = _SIZE.unpack(_exactly(asked, _SIZE.size))
            args, seconds, memory = json.loads(_exactly(asked, size))
        kind, answer = _in_a_child(function, args, seconds, memory)
        _write(descriptor, _HEAD.pack(kind, len(answer)) + answer)
    os._exit(0)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _in_a_child(function: Any, args: list[Any], seconds: float, memory: int) -> tuple[bytes, bytes]:
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
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
