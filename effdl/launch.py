"""Run one function on N processes, from a notebook or a script, and get everything back.

    >>> from effdl import launch
    >>> results = launch.run("week03_data_parallel.ring:ring_demo", ranks=4, args=(1_000_000,))
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

import contextlib
import faulthandler
import importlib
import io
import json
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import pickle
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import numpy
import psutil
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.distributed.elastic.multiprocessing.redirects import redirect_stderr, redirect_stdout

from effdl.launch_server import PR_SET_PDEATHSIG, kill_descendants, prctl

START_LIMIT = 120.0  # seconds until every rank must be up; the deadline of the caller counts from then
SETTLE = 0.2  # seconds in which other ranks may still report, so that the first failure is named, not an echo
LAST_WORDS = 10.0  # seconds, at most, in which a rank may say where it stands, or the server that it has died
DEADLINE = "EFFDL_DEADLINE"  # environment variable: seconds that a run may take where the caller does not say
OUTPUT_LIMIT = 10_000_000  # bytes kept of one stream of one rank: a loop that prints must not fill the disk

# One record of a run's log: rank, kind, length of the text that follows.
_HEADER = struct.Struct("=HBI")
_STARTED, _STDOUT, _STDERR, _RAISED, _RETURNED = range(5)
_STREAMS = {"stdout": _STDOUT, "stderr": _STDERR}

_one_run_at_a_time = threading.Lock()
_warm_server = None  # process id of the fork server that has been seen to answer


class LaunchError(RuntimeError):
    """A run that did not end well. The message begins with the rank that failed first, and why.

    Attributes:
        rank: the rank that failed first, or None where no single rank did (deadline, refused call).
        traceback: that rank's traceback as text, or "".
        output: everything the ranks printed, as an `Output`.
    """

    def __init__(self, message: str, rank: int | None = None, traceback: str = "", output=None):
        super().__init__(message)
        self.rank = rank
        self.traceback = traceback
        self.output = output if output is not None else Output()

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the rank's failure alone, without the frames of the launcher."""
        return [f"LaunchError: {self}"]


@dataclass
class Output:
    """What the ranks printed: (rank, "stdout" or "stderr", text) in the order in which it was written.

    Python's own streams are recorded line by line. What C libraries and child processes write to the file
    descriptors is kept as well, but its moment is not known: it stands at the end.
    """

    records: list[tuple[int, str, str]] = field(default_factory=list)

    def text(self, rank: int | None = None, stream: str | None = None) -> str:
        """The text as written, of one rank or of all, of one stream ("stdout", "stderr") or of both."""
        return "".join(t for r, s, t in self.records if rank in (None, r) and stream in (None, s))

    def __str__(self) -> str:
        return "\n".join(f"[rank {r}] {line}" for r, _, text in self.records for line in text.splitlines())


class Results(list):
    """What each rank returned, by rank, and `output`, what the ranks printed."""

    def __init__(self, values, output: Output):
        super().__init__(values)
        self.output = output


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
        LaunchError: a rank raised, died, or ran past the deadline. No process of the run is left then, nor after
            a KeyboardInterrupt, nor when this process is killed: the ranks' own children die with them.
        TypeError, ValueError: an argument that cannot work, said before anything starts.
    """
    target = _target(function)
    deadline = float(os.environ.get(DEADLINE, 60)) if deadline is None else deadline
    _check(ranks, deadline, backend, threads)
    with _one_run_at_a_time, tempfile.TemporaryDirectory(prefix="effdl-launch-") as folder:
        job = _Job(Path(folder), target, ranks, backend, threads)
        _dump((args, kwargs or {}), job.folder / "arguments", f"the arguments of {target}")
        (job.folder / "log").touch()
        server = _server()
        before = {child.pid for child in server.children(recursive=True)}
        # The store is served by a thread of this process, and lives as long as this name does.
        store, port = _store(ranks)
        watch = _Watch(job, show)
        try:
            watch.start(_environment(ranks, port, threads))
            watch.until_all_returned(deadline)
        finally:
            with _no_interrupt():
                stuck = kill_descendants(server, spare=before)
                watch.read()
            del store
        if stuck:
            raise LaunchError(f"processes {stuck} sleep in the kernel and cannot be killed: see `dmesg`")
        return Results([_load(job.folder / f"result-{rank}") for rank in range(ranks)], watch.output())


@dataclass
class _Job:
    """What every rank must know, apart from its rank. Files: arguments, log, and per rank result, fd1, fd2."""

    folder: Path
    target: str
    ranks: int
    backend: str | None
    threads: int


# ---------------------------------------------------------------------------------------------------------------
# Before the start
# ---------------------------------------------------------------------------------------------------------------


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


class _Pickler(pickle.Pickler):
    """Pickle for other processes: refuses what only this one knows, and sends a tensor's own elements only."""

    def reducer_override(self, value):
        if isinstance(value, type | types.FunctionType) and value.__module__ == "__main__":
            raise pickle.PicklingError(f"{value.__qualname__} is defined in the notebook or script itself")
        if type(value) is torch.Tensor and value.layout is torch.strided:
            # Pickle would write the whole storage, of which a view may be a small part.
            whole = value.device.type == "cpu" and value.untyped_storage().nbytes() == value.nbytes
            return (value if whole else value.detach().cpu().clone()).__reduce_ex__(5)
        return NotImplemented


def _dump(value, path: Path, what: str) -> None:
    try:
        with open(path, "wb") as file:
            _Pickler(file, protocol=5).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TypeError(
            f"{what} cannot go to another process ({error}): use numbers, strings, lists, dicts and tensors"
        ) from None


def _load(path: Path):
    with open(path, "rb") as file:
        return pickle.load(file)


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


def _store(ranks: int) -> tuple[dist.TCPStore, int]:
    """Serve a store on the loopback, on a port that the kernel picks; return it and the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    store = dist.TCPStore(
        "127.0.0.1", port, ranks, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )
    return store, port


def _nothing() -> None:
    """The first process of a new fork server: when it has ended, the server has loaded torch."""


def _server() -> psutil.Process:
    """The fork server of this process, started and warm."""
    global _warm_server
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["effdl.launch_server"])
    multiprocessing.forkserver.ensure_running()
    # No public name gives it, and every Python from 3.4 to 3.14 has this one.
    pid = multiprocessing.forkserver._forkserver._forkserver_pid
    if pid != _warm_server:
        # Nothing that matters may be asked of a server that is still loading: a Ctrl-C now must leave no rank.
        with without_main():
            first = context.Process(target=_nothing)
            first.start()
        first.join()
        _warm_server = pid
    return psutil.Process(pid)


@contextlib.contextmanager
def without_main():
    """Start processes that do not run this program's main script or notebook again: they need nothing from it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _no_interrupt():
    """Hold back Ctrl-C, so that a second one cannot stop the killing."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


# ---------------------------------------------------------------------------------------------------------------
# In a rank
# ---------------------------------------------------------------------------------------------------------------


class _LogStream(io.RawIOBase):
    """The raw end of a rank's sys.stdout or sys.stderr: one record in the run's log for each write.

    All ranks append to one file, and the kernel makes an append atomic, so the records stand in the order in
    which they were written, across ranks too.
    """

    def __init__(self, log: int, rank: int, stream: str):
        self._log, self._rank, self._stream, self._left = log, rank, stream, OUTPUT_LIMIT

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STREAMS[self._stream]

    def write(self, data) -> int:
        data = bytes(data)
        if self._left > 0:
            kept = data[: self._left]
            self._left -= len(data)
            if self._left <= 0:
                kept += f"\n({self._stream} of this rank is cut here, at {OUTPUT_LIMIT:,} bytes)\n".encode()
            _record(self._log, self._rank, _STREAMS[self._stream], kept)
        return len(data)


def _record(log: int, rank: int, kind: int, text: bytes = b"") -> None:
    os.write(log, _HEADER.pack(rank, kind, len(text)) + text)


def _rank_main(rank: int, job: _Job, environment: dict[str, str]) -> None:
    """What a rank runs. It reports to the log whatever happens, and never raises."""
    _detach()
    os.environ.clear()
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    log = os.open(job.folder / "log", os.O_WRONLY | os.O_APPEND)
    descriptors = [str(job.folder / f"fd{number}-{rank}") for number in (1, 2)]
    with (
        redirect_stdout(descriptors[0]),
        redirect_stderr(descriptors[1]),
        open(descriptors[1], "a") as errors,
    ):
        faulthandler.enable(errors)
        with open(job.folder / f"stack-{rank}", "w") as stack:
            faulthandler.register(signal.SIGUSR1, stack)
            for stream in _STREAMS:
                raw = _LogStream(log, rank, stream)
                setattr(sys, stream, io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True))
            try:
                _record(log, rank, _STARTED)
                _call(rank, job, log)
            except BaseException as error:
                _flush()
                _record(log, rank, _RAISED, json.dumps(_report(error)).encode())
                # Exit handlers and children must not delay a rank that has failed.
                os._exit(1)


def _report(error: BaseException) -> dict:
    """When and why a rank failed, and where: its traceback less the frames of this module."""
    when = time.time_ns()
    report = link = traceback.TracebackException.from_exception(error)
    while link:
        link.stack = traceback.StackSummary.from_list([f for f in link.stack if f.filename != __file__])
        link = link.__cause__ or link.__context__
    why = "".join(report.format_exception_only()).strip()
    return {"time": when, "why": why, "traceback": "".join(report.format()) if report.stack else ""}


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _detach() -> None:
    """Undo what a fork of the server inherits, and tie this rank's life to the server's."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Its own session: a Ctrl-C in the terminal goes to the program that called run(), which ends the ranks.
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Every fork has the server's numpy state, and so every rank would draw the same "random" numbers.
    numpy.random.seed()


def _call(rank: int, job: _Job, log: int) -> None:
    """Join the group, call the function, and hand over its value once every rank has one."""
    torch.set_num_threads(job.threads)
    args, kwargs = _load(job.folder / "arguments")
    module, name = job.target.split(":")
    function = attrgetter(name)(importlib.import_module(module))
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    if job.backend == "nccl":
        torch.cuda.set_device(rank)
    if job.backend:
        dist.init_process_group(job.backend, store=store, rank=rank, world_size=job.ranks)
    value = function(*args, **kwargs)
    _flush()
    _dump(value, job.folder / f"result-{rank}", f"what rank {rank} returned")
    _record(log, rank, _RETURNED)
    # A rank that left now would close connections from which a slower one may still read.
    store.set(f"effdl/returned/{rank}", "")
    for other in range(job.ranks):
        while not store.check([f"effdl/returned/{other}"]):
            time.sleep(0.002)
    if dist.is_initialized():
        dist.destroy_process_group()


# ---------------------------------------------------------------------------------------------------------------
# While they run
# ---------------------------------------------------------------------------------------------------------------


class _Watch:
    """Starts the ranks of one job and follows their log."""

    def __init__(self, job: _Job, show: bool):
        self.job, self.show = job, show
        self.records: list[tuple[int, str, str]] = []
        self.started: set[int] = set()
        self.returned: set[int] = set()
        self.raised: dict[int, dict] = {}
        self._unread = b""
        self._offset = 0
        self._partial: dict[tuple[int, str], str] = {}

    def start(self, environment: dict[str, str]) -> None:
        with without_main():
            self.processes = torch.multiprocessing.start_processes(
                _rank_main,
                args=(self.job, environment),
                nprocs=self.job.ranks,
                join=False,
                start_method="forkserver",
            ).processes

    def until_all_returned(self, deadline: float) -> None:
        """Wait until every rank has returned and left; raise LaunchError when one fails or time is up."""
        begin, limit = time.monotonic(), START_LIMIT
        counting = False
        while True:
            running = [p.sentinel for p in self.processes if p.is_alive()]
            multiprocessing.connection.wait(running, timeout=0.02)
            if self._died() or self.raised:
                self._fail()
            if not running:
                return
            if not counting and len(self.started) == self.job.ranks:
                counting, begin, limit = True, time.monotonic(), deadline
            if time.monotonic() - begin > limit:
                self._late(f"deadline of {deadline:g} s" if counting else f"start limit of {limit:g} s")

    def read(self) -> None:
        """Take in what the ranks appended to the log since the last call."""
        with open(self.job.folder / "log", "rb") as log:
            log.seek(self._offset)
            new = log.read()
        self._offset += len(new)
        data = self._unread + new
        while len(data) >= _HEADER.size:
            rank, kind, length = _HEADER.unpack_from(data)
            if len(data) < _HEADER.size + length:
                break
            self._take(rank, kind, data[_HEADER.size : _HEADER.size + length].decode("utf-8", "replace"))
            data = data[_HEADER.size + length :]
        self._unread = data

    def _take(self, rank: int, kind: int, text: str) -> None:
        if kind == _STARTED:
            self.started.add(rank)
        elif kind == _RETURNED:
            self.returned.add(rank)
        elif kind == _RAISED:
            self.raised[rank] = json.loads(text)
        else:
            stream = "stdout" if kind == _STDOUT else "stderr"
            self.records.append((rank, stream, text))
            if self.show:
                self._print(rank, stream, text)

    def _print(self, rank: int, stream: str, text: str) -> None:
        *lines, rest = (self._partial.get((rank, stream), "") + text).split("\n")
        self._partial[rank, stream] = rest
        for line in lines:
            print(f"[rank {rank}] {line}", file=getattr(sys, stream), flush=True)

    def output(self) -> Output:
        """All that was printed: the log, then what reached the file descriptors past Python."""
        records = list(self.records)
        for rank in range(self.job.ranks):
            for stream, number in _STREAMS.items():
                path = self.job.folder / f"fd{number}-{rank}"
                text = path.read_text(errors="replace")[:OUTPUT_LIMIT] if path.exists() else ""
                if text:
                    records.append((rank, stream, text))
        return Output(records)

    def _died(self) -> dict[int, int]:
        """Exit status of every rank that left without a word: neither a value nor an exception."""
        gone = {rank: p.exitcode for rank, p in enumerate(self.processes) if p.exitcode is not None}
        # Only now: the last word of a rank that is gone stands in the log, and may have come since the last look.
        self.read()
        return {r: code for r, code in gone.items() if r not in self.returned and r not in self.raised}

    def _fail(self) -> None:
        """Raise LaunchError for the rank that failed first."""
        time.sleep(SETTLE)
        for process in self.processes:
            # On a busy machine the fork server may be late to say that a rank has died.
            if process.is_alive() and _has_ended(process.pid):
                process.join(LAST_WORDS)
        died, world = self._died(), self.job.ranks
        output = self.output()
        # When a rank dies, the others raise "connection closed by peer": a silent death is the cause.
        if died:
            rank = min(died)
            trace = self._native_traceback(rank)
            headline = f"rank {rank} of {world} died: {_status(died[rank])}"
        else:
            rank = min(self.raised, key=lambda r: self.raised[r]["time"])
            trace = self.raised[rank]["traceback"]
            headline = f"rank {rank} of {world} raised {self.raised[rank]['why']}"
        message = [headline, "", trace.rstrip()] if trace else [headline]
        printed = output.text(rank).splitlines()[-10:]
        if printed and not (rank in died and trace):
            message += ["", f"What rank {rank} printed last:", *(f"  {line}" for line in printed)]
        echoes: dict[str, list[int]] = {}
        for other in sorted({*self.raised, *died} - {rank}):
            why = self.raised[other]["why"].splitlines()[0] if other in self.raised else _status(died[other])
            echoes.setdefault(why[:160], []).append(other)
        if echoes:
            message += ["", "After it:", *(f"  {_names(group)}: {why}" for why, group in echoes.items())]
        raise LaunchError("\n".join(message), rank=rank, traceback=trace, output=output)

    def _native_traceback(self, rank: int) -> str:
        """What faulthandler wrote when a signal such as SIGSEGV ended the rank."""
        path = self.job.folder / f"fd2-{rank}"
        text = path.read_text(errors="replace") if path.exists() else ""
        _, found, trace = text.rpartition("Fatal Python error: ")
        return f"{found}{trace.splitlines()[0]}, innermost call first:\n{_frames(trace)}" if found else ""

    def _late(self, what: str) -> None:
        """Raise LaunchError with the place where every rank stands that has not returned."""
        late = [r for r, p in enumerate(self.processes) if p.is_alive()]
        asked = [r for r in late if r in self.started]
        for rank in asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.processes[rank].pid, signal.SIGUSR1)
        give_up = time.monotonic() + LAST_WORDS
        while not all(map(self._has_said, asked)) and time.monotonic() < give_up:
            time.sleep(0.01)
        waiting = [r for r in late if r in self.returned]
        busy = [r for r in late if r not in self.returned] or waiting
        message = [f"{what} passed: {_names(busy)} of {self.job.ranks} still running"]
        if busy is waiting:
            message[0] += " after returning (a child process or thread that was not ended?)"
        for rank in busy:
            message += ["", f"rank {rank} stands at (innermost call first):", self._stack(rank)]
        raise LaunchError("\n".join(message), output=self.output())

    def _has_said(self, rank: int) -> bool:
        """Whether a rank has written where its main thread stands, down to the server's command or 100 frames."""
        text = (self.job.folder / f"stack-{rank}").read_text(errors="replace")
        return '  File "<string>"' in text or "\n  ...\n" in text

    def _stack(self, rank: int) -> str:
        path = self.job.folder / f"stack-{rank}"
        unknown = "  (it did not say: it is outside Python, or it replaced the handler of SIGUSR1)"
        return (path.exists() and _frames(path.read_text(errors="replace"))) or unknown


def _has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to take note of its end."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _frames(dump: str) -> str:
    """The lines of a faulthandler dump that name a place, less those of the launcher."""
    ours = (__file__, multiprocessing.__path__[0], torch.multiprocessing.__path__[0], "<string>")
    lines = [line for line in dump.splitlines() if line.startswith("  File ")]
    return "\n".join(line for line in lines if not any(f'"{place}' in line for place in ours))


def _names(ranks: list[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))


def _status(code: int) -> str:
    if code < 0:
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{hint}"
    return f"it left with status {code} before the function returned"
