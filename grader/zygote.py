"""A process that has imported torch once and forks one sandboxed job per request.

It must hold no secret, since every worker is a copy of it, and it must stay single-threaded, since a lock that
another thread holds at the fork stays locked in the child for ever. It is started with an empty environment and
never sees a check, an input or the name of a student.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from grader.sandbox import Request, SandboxError, lead

_MODULES = ("numpy", "torch", "torch.distributed", "torch.utils.data", "torch.multiprocessing", "torch.nn")
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc then returns freed tensors to the kernel, so that peak memory means what was in use.
    "MALLOC_MMAP_THRESHOLD_": "65536",
    # A heap of huge pages has few page-table entries, which is most of what a fork copies.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
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

    def __init__(self, modules: Sequence[str] = ()):
        """Start the process; it imports torch and `modules` while the caller goes on. `wait` blocks for it."""
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        command = [sys.executable, "-I", "-c", "from grader.zygote import main; main()"]
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno()), *modules],
            pass_fds=[theirs.fileno()],
            env=_ENVIRONMENT,
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
        if not self._ready and self._socket.recv(64) != b"ready\n":
            raise SandboxError("the zygote died while it imported torch; its message stands above")
        self._ready = True

    def spawn(self, request: Request, descriptors: Sequence[int]) -> Leader:
        """Start a job and return its leader.

        `descriptors` are the packed submission, one socket per rank, stdout, stderr and the status pipe.
        """
        with self._lock:
            self.wait()
            rights = array.array("i", descriptors)
            self._socket.sendmsg(
                [request.to_json().encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            )
            reply = self._socket.recv(4096).decode().strip()
            if not reply.isdigit():
                raise SandboxError(f"the zygote could not fork: {reply or 'it is gone'}")
            # The zygote reaps when the next request comes, so under the lock this number is not yet reused.
            return Leader(int(reply))

    def close(self) -> None:
        """End the process; its jobs die with it."""
        self._socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Entry point of the zygote process: `main() FD MODULE ...`."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in (*_MODULES, *sys.argv[2:]):
        importlib.import_module(module)
    from grader.worker import reseed, work

    reseed()  # imports what seeding needs
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
        try:
            _require_one_thread()
            pid = os.fork()
        except (OSError, SandboxError) as error:
            control.send(f"{error}\n".encode())
            pid = None
        if pid == 0:
            control.close()
            files, *ranks, stdout, stderr, status = rights
            lead(Request.from_json(text.decode()), files, ranks, stdout, stderr, status, work)
        for descriptor in rights:
            os.close(descriptor)
        if pid:
            control.send(f"{pid}\n".encode())


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
