"""A process that has imported once what workers need, torch mostly, and forks one sandboxed job per request.

It must hold no secret, since every worker is a copy of it, and it must stay single-threaded, since a lock that
another thread holds at the fork stays locked in the child for ever. It is started with an empty environment and
never sees a check, an input or the name of a student.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from grader.sandbox import gpu, preload
from grader.sandbox.build import Request, SandboxError, lead

log = logging.getLogger(__name__)

MAX_STARTS = 50  # of one examiner's zygote, before it is clear that somebody does not want it
_TORCH = ("torch", "torch.distributed", "torch.utils.data", "torch.multiprocessing", "torch.nn")
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # A heap of huge pages has few page-table entries, which is most of what a fork copies.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    # No job sees a GPU but the one that it was given.
    "CUDA_VISIBLE_DEVICES": "",
    # pandas imports pyarrow, whose allocator would start a thread.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class Leader:
    """A handle on the leader of a job, a process that is not our own child."""

    def __init__(self, pid: int):
        self.pid = pid
        self._descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    def kill(self) -> None:
        """End the job: every rank dies with its leader."""
        with contextlib.suppress(ProcessLookupError):
            if self._descriptor is None:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def close(self) -> None:
        """Give the handle back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Zygote:
    """The examiner's end. Thread-safe: several threads may spawn jobs through one zygote."""

    def __init__(
        self,
        modules: Sequence[str] = (),
        programs: Mapping[str, str] = MappingProxyType({}),
        *,
        torch: bool = True,
    ):
        """Start the process; it imports torch and `modules` while the caller goes on. `wait` blocks for it.

        Without `torch`, each worker that needs it imports it: for work of which hardly any does.

        `programs` is what a worker can do besides calling a function: by the name that an order gives as
        `program`, `"module:function"`, called as `function(examiner's socket, order, folder of the submission)`.
        A module of these that has a function `warm_up` is warmed up once, for all workers.
        """
        self._modules, self._programs, self._torch = list(modules), dict(programs), torch
        self._lock = threading.Lock()
        self._asked = set(modules)
        self._starts = 0
        self._start()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._starts += 1
        # It ends at once: some libraries, whose objects are frozen here, complain of leaks at an ordinary end.
        code = "import os; from grader.sandbox.zygote import main; main(); os._exit(0)"
        command = [sys.executable, "-I", "-c", code]
        found = gpu.library_path()
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno()), json.dumps([self._programs, self._torch]), *self._modules],
            pass_fds=[theirs.fileno()],
            env={**_ENVIRONMENT, **({"LD_LIBRARY_PATH": found} if found else {})},
            # What is imported may look for its settings where it is: not in a course.
            cwd="/",
            stdin=subprocess.DEVNULL,
            # A Ctrl-C at the terminal belongs to the examiner, which then closes this process in order.
            start_new_session=True,
        )
        theirs.close()
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        """Block until the imports are done; raises SandboxError if the process died in them."""
        if not self._ready and self._receive(64) != b"ready\n":
            raise SandboxError(
                "the zygote died while it imported what workers need; its message stands above"
            )
        self._ready = True

    def preload(self, modules: Sequence[str]) -> None:
        """Import modules once for all jobs; what is not there, or may not be (see `safe`), is left to them."""
        with self._lock:
            new = [module for module in preload.names(modules) if module not in self._asked]
            if not new:
                return
            self._asked.update(new)
            if self._told("import", new) == "imported":
                self._modules += new
            else:
                self.close()
                self._start()

    def safe(self, modules: Sequence[str]) -> list[str]:
        """Return those of `modules` that `preload` may be given, tried in forks; see `grader.sandbox.preload`."""
        wanted = preload.names(modules)
        with self._lock:
            return self._told("try", wanted).split()[1:] if wanted else []

    def _told(self, word: str, modules: Sequence[str]) -> str:
        """Return the line that the process says to this word, what there is of it where it is gone."""
        text = b""
        with contextlib.suppress(ConnectionError):
            self.wait()
            self._socket.sendall(f"{word} {' '.join(modules)}\n".encode())
            while not text.endswith(b"\n") and (more := self._receive(1 << 16)):
                text += more
        return text.decode().strip()

    def _receive(self, size: int) -> bytes:
        """Return what the process says, nothing where it is gone."""
        try:
            return self._socket.recv(size)
        except ConnectionError:
            return b""

    def spawn(self, request: Request, descriptors: Sequence[int]) -> Leader:
        """Start a job and return its leader.

        `descriptors` are the packed submission, one socket per rank, stdout, stderr, the status pipe, where the
        request says `dialed` the dialer's socket, and where it has a GPU the lock on it. A process that was killed
        is started again, and its jobs, which died with it, are their owners' to repeat.
        """
        with self._lock:
            reply = self._ask(request, descriptors)
            while not reply and self._starts < MAX_STARTS:
                log.warning("the zygote (process %d) was killed; starting another", self.pid)
                self.close()
                self._start()
                reply = self._ask(request, descriptors)
            if not reply.isdigit():
                raise SandboxError(f"the zygote could not fork: {reply or 'it was killed too often'}")
            # The zygote reaps when the next request comes, so under the lock this number is not yet reused.
            return Leader(int(reply))

    def _ask(self, request: Request, descriptors: Sequence[int]) -> str:
        """Return the answer to one request, the empty string where the process is gone."""
        was_up = self._ready
        try:
            self.wait()
            rights = array.array("i", descriptors)
            self._socket.sendmsg(
                [request.to_json().encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            )
        except ConnectionError:
            return ""
        except SandboxError:
            # Killed while it started is one thing; an import that fails will fail again.
            self._process.wait(5)
            if was_up or self._process.returncode != -signal.SIGKILL:
                raise
            return ""
        return self._receive(4096).decode().strip()

    def close(self) -> None:
        """End the process; its jobs die with it."""
        self._socket.close()
        if not self._ready:
            self._process.kill()  # it has no job yet, and would import all to the end
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Entry point of the zygote process: `main() FD SETTINGS MODULE ...`."""
    control = socket.socket(fileno=int(sys.argv[1]))
    targets, with_torch = json.loads(sys.argv[2])
    for module in _TORCH if with_torch else ():
        importlib.import_module(module)
    try:
        preload.load(sys.argv[3:])
    except OSError as error:
        print(f"workers import them themselves: {error}", file=sys.stderr)
        for first, end in ((3, control.fileno()), (control.fileno() + 1, 1 << 20)):
            os.closerange(first, end)
        os.execv(sys.executable, sys.orig_argv[: -len(sys.argv[3:])])
    from grader.sandbox.worker import reseed, set_heap, work

    reseed()  # imports what seeding needs
    programs = {}
    for name, target in targets.items():
        module_name, _, function = target.partition(":")
        module = importlib.import_module(module_name)
        programs[name] = getattr(module, function)
        if hasattr(module, "warm_up"):
            module.warm_up()
    set_heap("holds")
    # Frozen objects are never touched by the collector, so that children keep sharing their pages.
    gc.collect()
    gc.freeze()
    try:
        control.send(b"ready\n")
    except BrokenPipeError:
        return  # the examiner did not wait
    while True:
        text, rights, _, _ = socket.recv_fds(control, 1 << 16, 64)
        while text and not text.endswith(b"\n"):
            text += control.recv(1 << 16) or b"\n"
        _reap()
        if not text:
            return
        word, *names = text.decode().split()
        if word == "import":
            # What an import needs for a moment goes back: each worker would find it free, and take memory there that
            # is to come from the kernel, and go back to it, where a check reads how much.
            set_heap("frees")
            try:
                preload.load(names)
            except OSError as error:
                print(f"workers import them themselves: {error}", file=sys.stderr)
                return
            set_heap("holds")
            control.sendall(b"imported\n")
            continue
        if word == "try":
            control.sendall(f"safe {' '.join(preload.safe(names))}\n".encode())
            continue
        try:
            _require_one_thread()
            _require_no_gpu()
            pid = os.fork()
        except (OSError, SandboxError) as error:
            control.send(f"{error}\n".encode())
            pid = None
        if pid == 0:
            control.close()
            request = Request.from_json(text.decode())
            lease = rights.pop() if request.gpu is not None else None
            dialer = rights.pop() if request.dialed else None
            files, *ranks, stdout, stderr, status = rights
            begin = partial(work, programs=programs)
            lead(request, files, ranks, stdout, stderr, status, begin, dialer, lease)
        for descriptor in rights:
            os.close(descriptor)
        if pid:
            control.send(f"{pid}\n".encode())


def _require_no_gpu() -> None:
    if nodes := gpu.opened():
        raise SandboxError(
            f"the zygote has opened {', '.join(nodes)}; CUDA begins with that, and a fork of it can use no GPU"
        )


def _require_one_thread() -> None:
    if sys.platform != "linux":
        return
    for _ in range(100):
        count = len(os.listdir("/proc/self/task"))
        if count == 1:
            return
        time.sleep(0.01)
    raise SandboxError(f"{count} threads run in the zygote; a fork would leave their locks locked")


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return
