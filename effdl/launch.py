"""Run one function on N processes, from a notebook or a script, and get everything back.

    >>> from effdl import launch
    >>> results = launch.run("week03_data_parallel.wire:count_on_rank", ranks=4, args=(["ring"], 2**20))
    >>> results[2]                   # what rank 2 returned
    >>> print(results.output)        # what the ranks printed, in the order in which they printed it

The ranks are started by PyTorch's own launcher, `torch.multiprocessing.start_processes`, on which torchrun's
process layer (`torch.distributed.elastic.multiprocessing`) is built as well. We use the lower of the two, because
in torch 2.13 the upper one leaves its signal handlers in the calling notebook, waits 30 s for a rank that ignores
SIGTERM, and waits for ever for a rank that leaves with status 0 before it returned.

Ranks are forks of a warm server process that has imported torch (`effdl.launch_server`). Measured side by side on
a busy two-core machine (torch 2.13, CPU, median of 3): a whole run with 2, 4 and 8 ranks and one all-reduce took
0.13, 0.16 and 0.30 s; processes of the usual start method, `spawn`, took 4, 5 and 31 s to import torch and leave.
The first run of a session also waits 2 to 4 s for the server. A rank imports the function's module afresh: after
an edit of the file, the next run uses the new text.

The ranks meet at a `TCPStore` that listens on the loopback only, on a port that the kernel picks, so that any
number of runs fit on one machine.
"""

import atexit
import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
import torch.multiprocessing

from effdl.launch_job import Job, LaunchError, Output, Results, dump, load
from effdl.launch_rank import rank_main
from effdl.launch_server import kill_descendants
from effdl.launch_watch import Watch
from effdl.sockets import LONGEST_PATH, socket_folder

__all__ = ["PRELOAD", "LaunchError", "Output", "Results", "run", "without_main"]

DEADLINE = "EFFDL_DEADLINE"  # environment variable: seconds that a run may take where the caller does not say
PRELOAD = ["effdl.launch_server", "effdl.launch_rank"]
"""What a fork server must load before its first fork, in this order: the second loads torch."""

_one_run_at_a_time = threading.Lock()
_warm_server = None  # process id of the fork server that has been seen to answer
_sockets: str | None = None  # a folder for its socket, where TMPDIR is too long for one
LOOPBACK_LIMIT = 5.0  # seconds in which this process must reach itself: it takes a thousandth of one
STORE_LIMIT = 300.0  # seconds, PyTorch's own


def run(
    function: str | Callable,
    ranks: int,
    args: tuple = (),
    kwargs: dict | None = None,
    deadline: float | None = None,
    backend: str | None = "gloo",
    threads: int = 1,
    show: bool = False,
) -> Results:
    """Call `function(*args, **kwargs)` on `ranks` processes of this machine and return what each returned.

    Args:
        function: "package.module:function", or a function that can be imported (not one of a notebook).
        ranks: the world size, 1 or more.
        args, kwargs: the same for every rank. Plain Python values and tensors.
        deadline: seconds that the ranks may take, from the moment when all of them are up. None: what the
            environment variable EFFDL_DEADLINE says, or 60. Tests say more: they must pass on a slow machine.
        backend: "gloo", "nccl" (at most one rank per GPU; the rank's GPU is set), or None for no process group.
            `MASTER_ADDR`, `RANK` and their kin are set as torchrun sets them, so that with None the function
            may call `torch.distributed.init_process_group` itself.
        threads: intra-op threads of each rank (`OMP_NUM_THREADS`).
        show: print the ranks' output while they run, each line with its rank.

    Returns:
        `Results`: a list by rank, with `.output`. Tensors come back on the CPU.

    Raises:
        LaunchError: a rank raised, died, or ran past the deadline, or this machine has no loopback, or no place for a
            socket. No process of the run is left then, nor after
            a KeyboardInterrupt, nor when this process is killed: the ranks' own children die with them.
        TypeError, ValueError: an argument that cannot work, said before anything starts.
    """
    target = _target(function)
    deadline = float(os.environ.get(DEADLINE, 60)) if deadline is None else deadline
    _check(ranks, deadline, backend, threads)
    with _one_run_at_a_time, tempfile.TemporaryDirectory(prefix="effdl-launch-") as folder:
        job = Job(Path(folder), target, ranks, backend, threads)
        dump((args, kwargs or {}), job.folder / "arguments", f"the arguments of {target}")
        (job.folder / "log").touch()
        _require_loopback(min(deadline, LOOPBACK_LIMIT))
        server = _server()
        before = {child.pid for child in server.children(recursive=True)}
        # The store is served by a thread of this process, and lives as long as this name does.
        store, port = _store(ranks, deadline)
        watch = Watch(job, show)
        try:
            watch.processes = _start(job, _environment(ranks, port, threads))
            watch.until_all_returned(deadline)
        finally:
            with _no_interrupt():
                stuck = kill_descendants(server, spare=before)
                watch.read()
            del store
        if stuck:
            raise LaunchError(f"processes {stuck} sleep in the kernel and cannot be killed: see `dmesg`")
        return Results([load(job.folder / f"result-{rank}") for rank in range(ranks)], watch.output())


def _target(function: str | Callable) -> str:
    """The function as "module:qualified.name", which a fresh process can import."""
    if isinstance(function, str):
        module, _, name = function.partition(":")
        if not module or not name:
            raise ValueError(
                f'function="{function}" has no module or no name: write "package.module:function"'
            )
    else:
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
        if not module or not name:
            raise TypeError(f"{function!r} has no name to import it by: pass a function defined in a module")
    if module == "__main__":
        raise ValueError(
            f"{name} is defined in the notebook or script itself, which a rank cannot import: "
            f'move it to a module, say ring.py, and pass "ring:{name}"'
        )
    if "<" in name:
        raise ValueError(
            f"{name} is a lambda or stands inside another function: define it at the top of {module}"
        )
    return f"{module}:{name}"


def _check(ranks: int, deadline: float, backend: str | None, threads: int) -> None:
    if not isinstance(ranks, int) or ranks < 1:
        raise ValueError(f"ranks={ranks!r}: give the number of processes, 1 or more")
    if not deadline > 0:
        raise ValueError(f"deadline={deadline!r}: give the seconds that the run may take")
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads={threads!r}: give the intra-op threads of each rank, 1 or more")
    if backend not in ("gloo", "nccl", None):
        raise ValueError(f'backend={backend!r}: use "gloo", "nccl" or None')
    if backend == "nccl" and ranks > torch.cuda.device_count():
        raise ValueError(
            f"nccl needs a GPU for each rank, and {ranks} ranks meet {torch.cuda.device_count()} GPUs: "
            'ask for fewer ranks or use backend="gloo"'
        )


def _environment(ranks: int, port: int, threads: int) -> dict[str, str]:
    """The environment of every rank, less its rank: this process's, and what torchrun would add."""
    return {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        # torchrun's word for "the store is already being served": env:// then joins ours.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": str(threads),
        # Without it gloo looks up the host's own name, which fails or waits on machines with no network.
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    }


def _require_loopback(seconds: float) -> None:
    """Raise LaunchError where this process cannot reach itself at 127.0.0.1, which PyTorch tries long."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            socket.create_connection(listener.getsockname(), timeout=seconds).close()
    except OSError as error:
        raise LaunchError(
            f"127.0.0.1 cannot be reached ({error}), and ranks meet there: is the loopback up "
            "(`ip link set lo up`), and does a firewall let it through?"
        ) from None


def _store(ranks: int, deadline: float) -> tuple[dist.TCPStore, int]:
    """Serve a store on the loopback, on a port that the kernel picks; return it and the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    store = dist.TCPStore(
        "127.0.0.1",
        port,
        ranks,
        is_master=True,
        timeout=timedelta(seconds=min(deadline, STORE_LIMIT)),
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    return store, port


def _nothing() -> None:
    """The first process of a new fork server: when it has ended, the server has loaded torch."""


def _server() -> psutil.Process:
    """The fork server of this process, started and warm."""
    global _warm_server
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with _short_folder():
        multiprocessing.forkserver.ensure_running()
    # No public name gives it, and every Python from 3.4 to 3.14 has this one.
    pid = multiprocessing.forkserver._forkserver._forkserver_pid  # pyright: ignore[reportAttributeAccessIssue]
    if pid != _warm_server:
        # Nothing that matters may be asked of a server that is still loading: a Ctrl-C now must leave no rank.
        with without_main():
            first = context.Process(target=_nothing)
            first.start()
        first.join()
        _warm_server = pid
    return psutil.Process(pid)


@contextlib.contextmanager
def _short_folder():
    """Let what starts meanwhile put its socket where the path fits into an address, whatever TMPDIR says."""
    global _sockets
    # No public name gives it; every Python from 3.4 to 3.14 keeps the folder of its sockets here.
    config = multiprocessing.process.current_process()._config  # pyright: ignore[reportAttributeAccessIssue]
    before = config.get("tempdir")
    room = len("/listener-12345678")
    if (
        before is None
        and len(os.fsencode(tempfile.gettempdir())) + len("/pymp-12345678") + room <= LONGEST_PATH
    ):
        yield
        return
    if before is not None and len(os.fsencode(before)) + room <= LONGEST_PATH:
        yield
        return
    if _sockets is None:
        try:
            _sockets = socket_folder("effdl-", room)
        except OSError as error:
            raise LaunchError(str(error)) from None
        atexit.register(shutil.rmtree, _sockets, ignore_errors=True)
    config["tempdir"] = _sockets
    try:
        yield
    finally:
        config["tempdir"] = before
        if before is None:
            del config["tempdir"]


@contextlib.contextmanager
def without_main():
    """Start processes that do not run this program's main script or notebook again: they need nothing from it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _start(job: Job, environment: dict[str, str]) -> list:
    """Start the ranks of a job; the processes, by rank."""
    with without_main():
        context = torch.multiprocessing.start_processes(
            rank_main, args=(job, environment), nprocs=job.ranks, join=False, start_method="forkserver"
        )
    assert context is not None  # it is only where `join` is true
    return context.processes


@contextlib.contextmanager
def _no_interrupt():
    """Hold back Ctrl-C, so that a second one cannot stop the killing."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
