"""Our own parsers on what a stranger wrote, in a child process that can be ended.

A server imports what the work needs once, and forks a child for each piece of it: that child has a clock, a limit on
memory, and takes with it whatever it did to itself. Requests and answers are JSON. This is no sandbox: the child
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
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

SECONDS = 40.0  # of processor time for one call
MEMORY = 3 << 30  # bytes of address space
MAX_ANSWER = 128 << 20  # bytes
_WAIT = 20  # times the seconds until a child that does not compute is ended too
_TRIES = 3  # where somebody kills what works for us
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_HEAD = struct.Struct("<cQ")
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
    frame = json.dumps([target, args, seconds, memory], default=lambda _: None).encode()
    for _ in range(_TRIES):
        kind, answer = _ask(frame, seconds)
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

_idle: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()


def _ask(frame: bytes, seconds: float) -> tuple[bytes, bytes]:
    with _lock:
        server = _idle.pop() if _idle else None
    server = server or _start()
    assert server.stdin is not None
    try:
        server.stdin.write(_HEAD.pack(b"q", len(frame)) + frame)
        server.stdin.flush()
        answer = _read(server, time.monotonic() + _WAIT * seconds)
    except TimeoutError:
        _end(server)
        return _TIME, b""
    except (OSError, EOFError):  # it was killed, waiting for us or as it worked
        _end(server)
        return _KILLED, b"9"
    except BaseException:
        _end(server)
        raise
    with _lock:
        _idle.append(server)
    return answer


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", "from grader.safe.apart import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_ENVIRONMENT,
        # A Ctrl-C at the terminal is the caller's; and its children can be ended with it.
        start_new_session=True,
    )


def _read(server: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    assert server.stdout is not None
    descriptor, found = server.stdout.fileno(), bytearray()
    kind, size = b"", _HEAD.size
    while True:
        while len(found) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError
            data = os.read(descriptor, min(size - len(found), 1 << 20))
            if not data:
                raise EOFError
            found += data
        if kind:
            return kind, bytes(found)
        (kind, size), found = _HEAD.unpack(found), bytearray()


def _end(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    for pipe in (server.stdin, server.stdout):
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[union-attr]


@atexit.register
def _end_all() -> None:
    with _lock:
        while _idle:
            _end(_idle.pop())


# --- the server ---------------------------------------------------------------------------------------------


def main() -> None:
    """Entry point of the server: answer on the standard output until the standard input ends."""
    for frame in _frames():
        target, args, seconds, memory = json.loads(frame)
        module_name, _, function = target.partition(":")
        fresh = module_name not in sys.modules
        module = importlib.import_module(module_name)
        if fresh and hasattr(module, "warm_up"):
            module.warm_up()
            gc.collect()
            gc.freeze()  # children go on sharing what no collector touches
        kind, answer = _in_a_child(getattr(module, function), args, seconds, memory)
        _write(1, _HEAD.pack(kind, len(answer)) + answer)


def _frames() -> Iterator[bytes]:
    while head := sys.stdin.buffer.read(_HEAD.size):
        yield sys.stdin.buffer.read(_HEAD.unpack(head)[1])


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
