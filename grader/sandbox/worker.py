"""What runs inside the sandbox, beside the student's code, and is therefore trusted for nothing.

It takes orders from one socket: import a module, join the process group, call a function with these inputs,
send back what it returned. The examiner judges; a worker that lies about its results lies about nothing else.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import random
import socket
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NoReturn

import numpy as np

from grader.sandbox import preload, standstill, wire
from grader.sandbox.network import LOOPBACK

Program = Callable[[socket.socket, dict[str, Any], str], None]

_GROUP_TIMEOUT = timedelta(minutes=10)  # the examiner's clock is the one that counts
_MAX_TRACEBACK = 4000
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # mallopt(3)
# Bytes from which a block has pages of its own; the second is the most that glibc takes.
_APART, _HELD = 1 << 16, 32 << 20


def work(rank: int, descriptor: int, submission: str, programs: Mapping[str, Program]) -> None:
    """Serve the examiner on the socket `descriptor` until it hangs up."""
    sys.stdin = io.StringIO()
    # Line-buffered, as on the terminal where torchrun shows it.
    sys.stdout = os.fdopen(1, "w", 1, encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="replace", closefd=False)
    sys.argv = ["submission"]
    sys.path.insert(0, submission)
    if torch := sys.modules.get("torch"):  # who imports it here gets OMP_NUM_THREADS from the environment
        torch.set_num_threads(1)
    standstill.listen()
    reseed()
    with socket.socket(fileno=descriptor) as examiner:
        try:
            order = wire.receive(examiner)
            if "program" in order:
                programs[order["program"]](examiner, order, submission)
            else:
                _serve(examiner, order, rank)
        except wire.Closed:
            return  # the examiner has hung up
        except BaseException as error:
            # SystemExit and KeyboardInterrupt of a submission are findings like any other.
            _send(examiner, _describe(error, submission))


def reseed() -> None:
    """Give this process random state of its own; a fork starts with its parent's."""
    random.seed()
    np.random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()


def _serve(examiner: socket.socket, order: dict[str, Any], rank: int) -> None:
    known = set(sys.modules)
    if heap := order.get("heap"):
        set_heap(heap)
    function = _find(order["target"], order["driver"])
    world = order["world"]
    if order["group"]:
        _join(examiner, rank, world)
    _send(examiner, {"ready": True})
    # Other ranks may still be receiving from this one when it has answered; the examiner hangs up when all have.
    while True:
        call = wire.receive(examiner)
        if "modules" in call:
            _send(examiner, {"modules": preload.imported_since(known)})
        else:
            _call(function, examiner, call)


def set_heap(how: str) -> None:
    """Say what becomes of freed memory: it stays within bounds ("holds"), for good ("keeps"), or goes back ("frees").

    By itself glibc gives tensors of a megabyte back to the kernel and takes the next ones anew, page by page: most of
    what short operations on arrays cost. So workers hold some. Peak memory means what was in use only where freed
    tensors go back at once. In a comparison of times both sides keep all, as a submission could do for itself.
    """
    libc = ctypes.CDLL(None)
    if mallopt := getattr(libc, "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _APART if how == "frees" else _HELD)
        mallopt(_M_TRIM_THRESHOLD, {"frees": _APART, "holds": 2 * _HELD, "keeps": -1}[how])
        if how == "keeps":
            mallopt(_M_MMAP_MAX, 0)
        else:
            libc.malloc_trim(0)  # what the zygote has freed must not take up blocks that would go back


def _call(function: Any, examiner: socket.socket, call: dict[str, Any]) -> None:
    arguments, options = call["args"], call["kwargs"]
    if "host" in call:
        _host(function, examiner, call)
    result = function(*arguments, **options)
    if result is None and call["in_place"]:
        result = arguments[0]
    sys.stdout.flush()
    sys.stderr.flush()
    # Under the name that came with the question: an answer sent before it cannot know that.
    _send(examiner, {call.get("answer", "result"): result})


class _Model:
    """What a server is given as its model: each call goes to the examiner, and so does nothing but its batch.

    One at a time, as on one accelerator: calls of several threads wait for each other.
    """

    def __init__(self, examiner: socket.socket):
        self._examiner, self._process = examiner, os.getpid()
        self._calling, self.sending, self._count = threading.Lock(), threading.Lock(), 0

    def __call__(self, batch: Any) -> Any:
        if os.getpid() != self._process:
            raise RuntimeError(
                "the model can be called in the process that was given it, not in one forked of it"
            )
        with self._calling:
            self._count += 1
            frame = wire.encode({"ask": self._count, "batch": batch})
            with self.sending:
                self._examiner.sendall(frame)
            # What an earlier call did not wait for, since a signal's handler raised, is not this one's.
            while (reply := wire.receive(self._examiner))["ask"] != self._count:
                continue
            if "refused" in reply:
                raise ValueError(reply["refused"])
            return reply["value"]


def _host(function: Any, examiner: socket.socket, call: dict[str, Any]) -> NoReturn:
    """Call a function that serves until SIGTERM; then wait, so that what it has left behind can be seen."""
    model = _Model(examiner)
    code = 0
    try:
        function(*call["args"], **call["kwargs"], **({call["host"]: model} if call["host"] else {}))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    # As at the end of a program: idle threads of a ThreadPoolExecutor are woken, and only daemons are not waited for.
    for end in reversed(getattr(threading, "_threading_atexits", [])):
        end()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    sys.stdout.flush()
    sys.stderr.flush()
    with model.sending:
        _send(examiner, {call["answer"]: code})
    while True:
        threading.Event().wait()


def _find(target: str, driver: str | None) -> Any:
    module_name, _, function = target.partition(":")
    if module_name == "driver":
        assert driver is not None  # the examiner sees to it
        module = types.ModuleType("driver")
        sys.modules["driver"] = module
        exec(compile(driver, "driver.py", "exec"), module.__dict__)
    else:
        module = importlib.import_module(module_name)
    found = getattr(module, function, None)
    if not callable(found):
        raise AttributeError(f"{module_name}.py defines no function {function}")
    return found


def _join(examiner: socket.socket, rank: int, world: int) -> None:
    """Initialise the default process group; rank 0 opens the store on a free port and the examiner passes it on."""
    import torch.distributed as dist

    # Ranks in sandboxes have an address each, which the sandbox's name leads to; elsewhere they share a loopback.
    shared = "MASTER_ADDR" not in os.environ
    address = "127.0.0.1" if shared else os.environ["MASTER_ADDR"]
    if rank == 0:
        store = dist.TCPStore(
            address, 0, world, is_master=True, wait_for_workers=False, timeout=_GROUP_TIMEOUT
        )
        _send(examiner, {"port": store.port})
        port = store.port
    else:
        port = wire.receive(examiner)["port"]
        store = dist.TCPStore(address, port, world, is_master=False, timeout=_GROUP_TIMEOUT)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
    )
    if shared:
        os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=_GROUP_TIMEOUT)
    dist.barrier()


def _send(examiner: socket.socket, message: dict[str, Any]) -> None:
    examiner.sendall(wire.encode(message))


def _describe(error: BaseException, submission: str) -> dict[str, Any]:
    """Return the error as plain text: its type, its message, and the last line of the student's that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename.startswith(submission + "/")]
    place = {"file": "", "line": 0, "code": ""}
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(submission + "/"):
        place = {"file": error.filename, "line": error.lineno or 0, "code": (error.text or "").strip()}
    elif theirs:
        place = {"file": theirs[-1].filename, "line": theirs[-1].lineno or 0, "code": theirs[-1].line or ""}
    place["file"] = place["file"].removeprefix(submission + "/")
    text = "".join(traceback.format_exception(error)).replace(submission + "/", "")
    return {
        "error": {
            "type": type(error).__name__,
            "message": _message(error),
            "traceback": text[-_MAX_TRACEBACK:],
            **place,
        }
    }


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return str(error.msg)
    try:
        return str(error)
    except Exception as second:  # a __str__ of the student's own
        return f"(its message cannot be read: {type(second).__name__})"
