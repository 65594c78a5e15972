"""A submission as a check sees it: `sub.call`, `sub.ranks`, fresh random inputs, and what was measured outside."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import re
import secrets
import select
import selectors
import shutil
import signal
import socket
import stat
import struct
import tempfile
import termios
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from grader import network, standstill, wire
from grader.cgroup import CgroupError, Cgroups, Usage
from grader.checks import Check, Line, StudentError, Undecided, record
from grader.later import torch
from grader.sandbox import MIB, WORKER_UIDS, Limits, Request, SandboxError
from grader.tree import MAX_BYTES, MAX_FILES, TRIALS, walk
from grader.zygote import Zygote

KEPT_OUTPUT = 1 * MIB  # of each of stdout and stderr; the rest is counted and dropped
MAX_OUTPUT = 1024 * MIB  # a submission that prints more is stopped
ENDED = "ended without an answer"
HANDED_OVER = "talks to another worker"
GRACE = 1.0  # seconds that other ranks get to say why, after one has failed
MOMENT = 0.5  # seconds that a process may take to die after the answer
# Seconds in which a worker without a submission starts, at the most, where limits on time hold as they are written.
# Where it takes longer they grow with it, so many times at most: see `Place.stretch`.
START = 0.1
MOST_STRETCH = 20.0
_JOBS = itertools.count()
_SKIPPED = {".git", "__pycache__", ".ipynb_checkpoints", ".venv", ".pytest_cache", "checks", *TRIALS}


class Packed:
    """The files of one submission, read once, as one descriptor that a sandbox unpacks."""

    def __init__(self, folder: Path, first: Sequence[str] = (), *, others: bool = True):
        """Read every regular file under `folder`, those named in `first` before all others, or only those.

        `notes` says in one sentence each what was left out: links, special files, what exceeds the limits.
        """
        self.notes: list[str] = []
        self.folder = Path(folder)
        contents: list[tuple[str, bytes]] = []
        total = 0
        for name in self._names(list(first)) if others else first:
            if len(contents) == MAX_FILES:
                self.notes.append(f"only the first {MAX_FILES} files were taken")
                break
            data = self._read(name, MAX_BYTES - total)
            if data is not None:
                contents.append((name, data))
                total += len(data)
        head = json.dumps([[name, len(data)] for name, data in contents]).encode()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the submission
        digest = hashlib.sha256()
        for piece in (struct.pack("<Q", len(head)), head, *(data for _, data in contents)):
            self._file.write(piece)
            digest.update(piece)
        self._file.flush()
        self.digest = digest.hexdigest()
        self.names = [name for name, _ in contents]

    @property
    def descriptor(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def _names(self, first: list[str]) -> list[str]:
        found = []
        for top, folders, files in walk(self.folder):
            folders[:] = [name for name in folders if name not in _SKIPPED]
            found += [os.path.relpath(os.path.join(top, name), self.folder) for name in files]
        return sorted(found, key=lambda name: name not in first)

    def _read(self, name: str, room: int) -> bytes | None:
        shown = plain(name, 80)
        try:
            name.encode()
        except UnicodeEncodeError:
            self.notes.append(f"{shown}: left out, its name is not UTF-8")
            return None
        # A link could name any file that the grader may read; a fifo would block it for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.folder / name, flags)
        except OSError as error:
            self.notes.append(
                f"{shown}: left out, {'a link' if error.errno == errno.ELOOP else error.strerror}"
            )
            return None
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                self.notes.append(f"{shown}: left out, not a regular file")
                return None
            if info.st_size > room:
                self.notes.append(
                    f"{shown}: left out, the files of a submission may hold {MAX_BYTES >> 20} MiB"
                )
                return None
            return file.read(room)


class Rng:
    """Random inputs, fresh for every run; the seed stays in the examiner."""

    def __init__(self, seed: int, name: str):
        # Each check has its own stream, so that no check depends on those before it.
        self._rng = np.random.default_rng([seed, zlib.crc32(name.encode())])

    def normal(
        self, shape: Sequence[int], *, mean: float = 0.0, std: float = 1.0, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Return a tensor of Gaussian numbers, float32 unless `dtype` says otherwise."""
        return torch.from_numpy(self._rng.normal(mean, std, tuple(shape))).to(dtype or torch.float32)

    def uniform(
        self, low: float, high: float, shape: Sequence[int], *, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Return a tensor of numbers in [low, high), float32 unless `dtype` says otherwise."""
        return torch.from_numpy(self._rng.uniform(low, high, tuple(shape))).to(dtype or torch.float32)

    def integers(self, low: int, high: int, shape: Sequence[int] | None = None) -> Any:
        """Return an int, or an int64 tensor of the given shape, in [low, high)."""
        if shape is None:
            return int(self._rng.integers(low, high))
        return torch.from_numpy(self._rng.integers(low, high, tuple(shape)))

    def permutation(self, n: int) -> torch.Tensor:
        """Return the numbers 0 .. n-1 in random order, int64."""
        return torch.from_numpy(self._rng.permutation(n))

    def choice(self, options: Sequence[Any]) -> Any:
        """Return one of `options`."""
        return options[self.integers(0, len(options))]


@dataclass(frozen=True)
class Run:
    """What came back from one run of the student's code, and what was measured around it."""

    results: list[Any]
    stdout: str
    stderr: str
    wall: float  # seconds from the first input byte sent to the last output byte received
    cpu_seconds: float | None
    peak_memory: int | None  # bytes
    output_bytes: int  # written to stdout and stderr, also what was not kept
    processes: int | None  # most processes and threads of the job at one time, since its start
    left: int | None  # processes begun during the call that outlived the answer by more than a moment
    sent: list[list[int]] | None  # bytes, headers included: sent[i][j] from rank i to rank j
    packets: list[list[int]] | None  # the same in packets

    @property
    def result(self) -> Any:
        return self.results[0]

    @property
    def network_bytes(self) -> int | None:
        """Bytes that all ranks together sent to each other."""
        return None if self.sent is None else sum(map(sum, self.sent))

    @property
    def network_packets(self) -> int | None:
        """Packets that all ranks together sent to each other."""
        return None if self.packets is None else sum(map(sum, self.packets))


def sweep_scratch() -> None:
    """Delete the folders that examiners without isolation left behind when they were killed."""
    for folder in Path(tempfile.gettempdir()).glob("grader-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and _is_gone(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@dataclass
class Place:
    """Where jobs run: the zygote, and what this machine offers to confine and to measure them."""

    zygote: Zygote
    isolated: bool
    cgroups: Cgroups | None
    readonly: list[str] = field(default_factory=list)
    _seen: threading.local = field(default_factory=threading.local)  # by the thread that judges a submission
    _undertaker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))
    _closing: list[Future] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of the list
    _stretch: float = 0.0  # 0 until it was measured
    _measuring: threading.RLock = field(default_factory=threading.RLock)

    @property
    def lost(self) -> int:
        """How many jobs of this thread lost a worker to a kill that was neither ours nor the memory limit's."""
        return getattr(self._seen, "lost", 0)

    @property
    def stretch(self) -> float:
        """By how much limits on time are longer here than written: 1, or more on a slow machine. Measured once.

        A limit must end what hangs and nothing else, and no author of a check knows the machine. The median of
        three starts, in which nothing of a submission runs, is this machine's own unit. Raises SandboxError where
        no worker starts.
        """
        with self._measuring:
            if not self._stretch:
                self._stretch = 1.0  # for the jobs that measure it
                try:
                    self._start_time()  # the first one is cold
                    middle = sorted(self._start_time() for _ in range(3))[1]
                    self._stretch = min(MOST_STRETCH, max(1.0, middle / START))
                except BaseException:
                    self._stretch = 0.0
                    raise
        return self._stretch

    def _start_time(self) -> float:
        """Return the seconds until a worker without a submission is ready."""
        packed, begin = Packed(Path(os.devnull)), time.perf_counter()
        job = Job(self, packed, 1, Limits())
        try:
            order = {"target": "os:getpid", "driver": None, "world": 1, "group": False}
            job.send(0, order, begin + 300)
            answered = job.wait(lambda: bool(job.inbox[0] or job.closed[0]), begin + 300)
            if not answered or job.closed[0]:
                raise SandboxError("a worker without a submission did not start")
            return time.perf_counter() - begin
        finally:
            job.close()
            packed.close()

    def take_peak_memory(self) -> int:
        """Return the largest peak memory, in bytes, of this thread's jobs since it was last asked; 0 if unknown."""
        peak = getattr(self._seen, "peak", 0)
        self._seen.peak = 0
        return peak

    def close_later(self, *jobs: Job) -> None:
        """End these jobs now, and give back what they held while the caller goes on: processes take time to die.

        Raises what an earlier call found out too late, such as CgroupError for processes that cannot be killed.
        """
        for job in jobs:
            job.end()
        with self._lock:
            waiting = [*self._closing, *(self._undertaker.submit(job.close) for job in jobs)]
            done = [future for future in waiting if future.done()]
            self._closing = [future for future in waiting if future not in done]
        for future in done:
            future.result()

    def close(self) -> None:
        """Wait for every job that ends."""
        for future in self._closing:
            future.result()
        self._undertaker.shutdown()

    def note_end(self, was_killed: bool, usage: Usage | None) -> None:
        """Count a job of this thread that ends."""
        self._seen.lost = self.lost + was_killed
        self._seen.peak = max(getattr(self._seen, "peak", 0), (usage and usage.peak_memory) or 0)


class Job:
    """One job seen from the examiner: sockets to its ranks, their output, and the counters around them."""

    def __init__(self, place: Place, packed: Packed, ranks: int, limits: Limits):
        """Start `ranks` workers. Raises SandboxError where the sandbox cannot be built."""
        self._place = place
        self._scratch = "" if place.isolated else tempfile.mkdtemp(prefix=f"grader-{os.getpid()}-")
        self._cgroup = None
        if place.cgroups is not None:
            self._cgroup = place.cgroups.create(
                memory=limits.memory, processes=limits.processes, cpus=limits.cpus or ranks + 1
            )
        request = Request(
            ranks=ranks,
            isolated=place.isolated,
            limits=limits,
            cgroup=self._cgroup.paths if self._cgroup else [],
            readonly=place.readonly,
            scratch=self._scratch,
            user=WORKER_UIDS[(os.getpid() + next(_JOBS)) % len(WORKER_UIDS)],
        )
        pairs = [socket.socketpair() for _ in range(ranks)]
        # Sockets, not pipes: a pipe can be opened anew through /proc and read by another rank.
        out, err, status = socket.socketpair(), socket.socketpair(), socket.socketpair()
        every = [*pairs, out, err, status]
        try:
            theirs = [pair[1].fileno() for pair in every]
            self.leader = place.zygote.spawn(request, [packed.descriptor, *theirs])
        except BaseException:
            for ours, _ in every:
                ours.close()
            self._clean_up()
            raise
        finally:
            for _, end in every:
                end.close()
        self._workers = [pair[0] for pair in pairs]
        self._frames = [wire.Frames() for _ in pairs]
        self._streams = {out[0]: bytearray(), err[0]: bytearray()}
        self._out, self._err, self._status = out[0], err[0], status[0]
        self._status_text = b""
        self.printed = 0
        self.last_byte = 0.0  # perf_counter when the last bytes of a worker were there to read
        self.inbox: list[list[Any]] = [[] for _ in pairs]
        self.closed: list[str | None] = [None] * ranks  # why a rank can say no more
        self.exits: dict[int, int] = {}
        self._ended = False
        self._pids: dict[int, int] = {}  # of each rank's first process, as the examiner sees it
        self._selector = selectors.DefaultSelector()
        for number, sock in enumerate(self._workers):
            self._selector.register(sock, selectors.EVENT_READ, number)
        for sock in (self._out, self._err, self._status):
            self._selector.register(sock, selectors.EVENT_READ, None)

    def send(self, rank: int, message: dict[str, Any], deadline: float) -> None:
        """Send to one rank; a rank that does not take its message in time counts as silent, not as an error."""
        self.send_frame(rank, wire.encode(message), deadline)

    def send_frame(self, rank: int, frame: bytes, deadline: float) -> None:
        """Send a message that is encoded already, as `send` does."""
        sock = self._workers[rank]
        sock.settimeout(max(0.001, deadline - time.perf_counter()))
        with contextlib.suppress(OSError):  # gone or stuck: what it said, or its silence, tells why
            sock.sendall(frame)
        sock.settimeout(None)

    def hand_over(self, rank: int, other: Job, to: int) -> None:
        """Let rank `to` of another job talk to this rank in our place; it gets the socket with one byte more."""
        self.closed[rank] = HANDED_OVER
        self._selector.unregister(self._workers[rank])
        with contextlib.suppress(OSError):  # gone: its silence tells
            socket.send_fds(other._workers[to], [b"s"], [self._workers[rank].fileno()])

    def wait(self, done: Callable[[], bool], deadline: float) -> bool:
        """Handle what arrives until `done()` or the deadline (perf_counter); returns whether it is done."""
        while not done():
            left = deadline - time.perf_counter()
            if left <= 0:
                return False
            self._handle(left)
        return True

    def freeze(self, frozen: bool) -> None:
        """Stop every process of the job where it stands, or let all go on; nothing without control groups.

        Raises StudentError where a process does not stop, Undecided where this machine has no freezer.
        """
        if self._cgroup is None:
            return
        if not self._cgroup.can_freeze:
            raise Undecided("control groups cannot be frozen here; a comparison of times needs that")
        try:
            self._cgroup.freeze(frozen, 2.0 * self._place.stretch)
        except CgroupError:
            raise StudentError("a process of the submission cannot be stopped between two calls") from None

    @property
    def first_pids(self) -> dict[int, int]:
        """Of each rank that has started, the number of its first process, which has begun the worker."""
        return self._pids

    def is_frozen(self) -> bool:
        """Return whether somebody has frozen the job, be it the machine's owner."""
        return self._cgroup is not None and self._cgroup.is_frozen()

    def has_unasked(self) -> bool:
        """Return whether a worker has sent what nobody has taken, be it the beginning of a message."""
        self._handle(0)
        return any(self.inbox) or not all(frames.idle for frames in self._frames)

    def text(self, name: str) -> str:
        """Return what all ranks wrote to `stdout` or `stderr` so far, in order of arrival."""
        sock = self._out if name == "stdout" else self._err
        return self._streams[sock].decode("utf-8", "replace")

    def drain(self) -> None:
        """Take what already lies in the streams; all of it came before what was last received."""
        for sock in (self._out, self._err):
            # No more than lies there now: a process that goes on printing must not keep the examiner.
            end = self.printed + struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]
            while self.printed < end and sock in self._selector.get_map() and self._ready(sock):
                self._read_stream(sock)

    def usage(self) -> Usage | None:
        return self._cgroup.usage() if self._cgroup else None

    def members(self) -> set[int] | None:
        """Return the processes of the job that are alive, None without control groups."""
        return self._cgroup.members() if self._cgroup else None

    def left_since(self, before: set[int] | None) -> int | None:
        """Return how many processes have begun since `before` and do not end within a moment."""
        if before is None:
            return None
        end = time.perf_counter() + MOMENT * self._place.stretch
        while (left := len(self.members() - before)) and time.perf_counter() < end:
            time.sleep(0.01)
        return left

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed a process of the job for its memory."""
        usage = self.usage()
        return usage is not None and usage.oom_kills > 0

    def traffic(self) -> np.ndarray | None:
        """Return bytes and packets sent so far, [2, sender, receiver], None without isolation.

        Raises StudentError where a rank has left and taken its counters along.
        """
        if not self._place.isolated:
            return None
        world = len(self.inbox)
        found = np.zeros((2, world, world), dtype=np.int64)
        if world == 1:
            return found
        self.wait(lambda: len(self._pids) == world, time.perf_counter() + GRACE * self._place.stretch)
        for rank in range(world):
            try:
                text = Path(f"/proc/{self._pids[rank]}/net/dev").read_text()
            except OSError:
                raise StudentError(f"{_who([rank], world)} ended before it was asked to") from None
            found[:, rank] = network.sent(text, world)
        return found

    def strayed(self) -> int:
        """Return how often the job tried to send to an address that no worker has, as the kernel counts it."""
        count = 0
        for pid in self._pids.values() if self._place.isolated else ():
            with contextlib.suppress(OSError):  # a worker that is gone takes its count along
                names, values = re.findall(r"^Ip: (.*)$", Path(f"/proc/{pid}/net/snmp").read_text(), re.M)
                count += int(dict(zip(names.split(), values.split(), strict=True))["OutNoRoutes"])
        return count

    def end(self) -> None:
        """Kill every process of the job, without waiting until they are gone."""
        if self._ended:
            return
        self._ended = True
        self._place.note_end(self._was_killed(), self.usage())
        self.leader.kill()
        if self._cgroup is not None and self._cgroup.frozen:
            self._cgroup.freeze(False)  # a frozen process cannot die

    def close(self) -> None:
        """End every process of the job and give back what it held."""
        self.end()
        # Until the last holder of the status socket is gone, so that no process outlives its job. It may have
        # gone on printing until it died, which no longer matters.
        with contextlib.suppress(StudentError):
            self.wait(lambda: self._status not in self._selector.get_map(), time.perf_counter() + 10)
        self._selector.close()
        self.leader.close()
        for sock in (*self._workers, self._out, self._err, self._status):
            sock.close()
        self._clean_up()

    def _was_killed(self) -> bool:
        """Return whether SIGKILL ended a rank from outside; a rank may also have sent it to itself."""
        if self.out_of_memory():
            return False
        dead = [
            rank
            for rank, why in enumerate(self.closed)
            if why == ENDED or (why == HANDED_OVER and _hung_up(self._workers[rank]))
        ]
        open_still = lambda: self._status in self._selector.get_map()  # noqa: E731
        with contextlib.suppress(StudentError, SandboxError):
            # An end is reported a moment after the socket has closed; a leader that was killed reports nothing.
            heard = lambda: not open_still() or all(rank in self.exits for rank in dead)  # noqa: E731
            self.wait(heard, time.perf_counter() + GRACE * self._place.stretch)
            while open_still() and self._ready(self._status):
                self._read_stream(self._status)
        if not open_still() and len(self.exits) < len(self.closed):
            return True
        return any(code in (-signal.SIGKILL, 128 + signal.SIGKILL) for code in self.exits.values())

    def _clean_up(self) -> None:
        if self._cgroup is not None:
            self._cgroup.remove()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _handle(self, seconds: float) -> None:
        for rank, sock in enumerate(self._workers):
            if not (self.inbox[rank] or self.closed[rank] or sock in self._selector.get_map()):
                self._selector.register(sock, selectors.EVENT_READ, rank)
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._read_stream(key.fileobj)
            else:
                self._read_worker(key.data)
        if self.printed > MAX_OUTPUT:
            raise StudentError(f"printed more than {MAX_OUTPUT >> 20} MiB and was stopped")

    def _ready(self, sock: socket.socket) -> bool:
        return any(key.fileobj is sock for key, _ in self._selector.select(0))

    def _read_worker(self, rank: int) -> None:
        self.last_byte = time.perf_counter()
        try:
            message = self._frames[rank].receive(self._workers[rank])
            if message is None:
                return
            # One at a time: what nobody takes must wait in the socket and not in this process.
            self.inbox[rank].append(message[0])
        except (EOFError, ConnectionError):
            self.closed[rank] = ENDED
        except wire.WireError as error:
            self.closed[rank] = f"sent what is no answer: {error}"
        self._selector.unregister(self._workers[rank])

    def _read_stream(self, sock: socket.socket) -> None:
        data = sock.recv(1 << 18)
        if not data:
            self._selector.unregister(sock)
        elif sock is self._status:
            self._status_text += data
            *lines, self._status_text = self._status_text.split(b"\n")
            for line in map(json.loads, lines):
                if "setup" in line:
                    raise SandboxError(f"the sandbox could not be built: {line['setup']}")
                if "pid" in line:
                    self._pids[line["rank"]] = line["pid"]
                else:
                    self.exits[line["rank"]] = line["exit"]
        else:
            self.printed += len(data)
            kept = self._streams[sock]
            kept += data[: KEPT_OUTPUT - len(kept)]


class Submission:
    """What a check is given as `sub`."""

    def __init__(
        self,
        place: Place,
        packed: Packed,
        check: Check,
        *,
        driver: str | None,
        memory: int,
        seed: int,
        references: Path | None = None,
    ):
        self._place, self._packed, self._driver, self._references = place, packed, driver, references
        self._wall = self._allowed = check.wall * place.stretch
        self._deadline = time.perf_counter() + self._wall
        self._limits = Limits(memory=check.memory or memory)
        self.rng = Rng(seed, check.name)
        self.notes: list[str] = []

    def call(self, target: str, *args: Any, wall: float | None = None, **kwargs: Any) -> Run:
        """Call `"module:function"` of the submission (or of the driver) in one worker without a process group.

        `wall` bounds this call in seconds, beside the check's own bound; on a slow machine both are longer.
        Raises StudentError where the submission raises, exits, is too slow, uses too much memory or lacks the
        function.
        """
        return self._run(target, [args], kwargs, wall, world=1, group=False, in_place=False)

    def ranks(
        self,
        target: str,
        *,
        world: int,
        per_rank: Sequence[Any] | None = None,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        wall: float | None = None,
    ) -> Run:
        """Call `"module:function"` on `world` ranks that share a gloo process group.

        Rank r is called as `function(per_rank[r], r, world, *args, **kwargs)`, without the first where
        `per_rank` is None. Where a function returns None, its first argument, as it then is, is the result.
        Raises StudentError as `call` does.
        """
        if per_rank is not None and len(per_rank) != world:
            raise ValueError(f"per_rank has {len(per_rank)} entries for a world size of {world}")
        heads = [()] * world if per_rank is None else [(value,) for value in per_rank]
        arguments = [(*head, rank, world, *args) for rank, head in enumerate(heads)]
        in_place = per_rank is not None
        return self._run(target, arguments, kwargs or {}, wall, world=world, group=True, in_place=in_place)

    def slope(self, run: Callable[[int], Run], sizes: Sequence[int]) -> Line | None:
        """Call `run(size)` for each size, and return the peak memory (bytes) of the runs as a line over the size.

        For `expect_slope_at_most`. Of one run, half is the interpreter and what a page more or less adds; how
        memory grows is the submission's own. None, with a note, on a student's own machine without control
        groups. Raises Undecided where this kernel does not count peak memory, ValueError for less than 3 sizes.
        """
        if len(set(sizes)) < 3:
            raise ValueError(f"slope() needs at least 3 different sizes, not {list(sizes)}")
        peaks = [run(size).peak_memory for size in sizes]
        if None not in peaks:
            return Line(tuple(sizes), tuple(peaks))
        if self._place.cgroups is not None:
            raise Undecided(
                "this kernel does not count peak memory: version 2 control groups do from Linux 5.19"
            )
        self.note("peak memory", "not measured: no control groups on this machine; the grader measures it")
        return None

    def compare(
        self,
        target: str,
        inputs: Callable[[], Sequence[Any]],
        *,
        against: str,
        threshold: float,
        verify: Callable[[Any, Any], None],
        warmup: int = 2,
        clock: str = "cpu",
        cpus: float = 1,
        wall: float = 10,
    ) -> None:
        """Expect `target` to be at least `threshold` times as fast as the reference `against`.

        `against` is `"module:function"` of a file beside the checks. `inputs` is called once per pair and returns
        the arguments of both, with shapes and numbers of its own each time. `verify(result, of_reference)` is
        called for every pair, those of the `warmup` too, which are not timed; it raises Failed by means of
        `expect_close` and the like. Both sides may use `cpus` processors, and `wall` seconds for a call.
        `clock="wall"` judges code that waits (for input, for other processors), where processor time cannot.

        Raises Failed or StudentError where the submission is wrong, breaks or is slower, Undecided where
        60 pairs or the check's own time do not settle it.
        """
        from grader.compare import Runner, judge, pairs

        name = f"{against.partition(':')[0]}.py"
        if self._references is None or not (self._references / name).is_file():
            raise FileNotFoundError(f"{against} is asked for, but {name} does not lie beside the checks")
        self._require(target)
        self._allowed = wall = wall * self._place.stretch
        limits = replace(self._limits, cpus=cpus)

        def start(packed: Packed, target: str) -> Runner:
            order = {"target": target, "driver": self._driver, "world": 1, "group": False}
            deadline = min(self._deadline, time.perf_counter() + wall)
            return Runner(self._place, packed, limits, order, self._answer, deadline)

        with contextlib.ExitStack() as stack:
            baseline = stack.enter_context(contextlib.closing(Packed(self._references, [name], others=False)))
            reference = stack.enter_context(contextlib.closing(start(baseline, against)))
            submission = stack.enter_context(contextlib.closing(start(self._packed, target)))
            result = pairs(
                *(reference, submission, inputs, verify),
                cpus=cpus,
                decided=lambda found: found.verdict(threshold, clock)[0] is not None,
                warmup=warmup,
                wall=wall,
                deadline=self._deadline,
            )
        judge(result, threshold, clock)

    def source(self, name: str) -> str:
        """Return the text of one of the student's files; raises StudentError where it is missing."""
        data = (self._packed.folder / name).read_bytes() if name in self._packed.names else None
        if data is None:
            raise StudentError(f"{name} is missing; put it beside the notebook")
        return data.decode("utf-8-sig", "replace")

    def note(self, name: str, value: float | str, unit: str = "") -> None:
        """Record something measured without judging it."""
        record(name, value, unit)

    def _run(
        self,
        target: str,
        arguments: list[tuple[Any, ...]],
        kwargs: dict[str, Any],
        wall: float | None,
        *,
        world: int,
        group: bool,
        in_place: bool,
    ) -> Run:
        self._require(target)
        now = time.perf_counter()
        deadline = min(self._deadline, now + (wall * self._place.stretch if wall else self._wall))
        self._allowed = max(0.0, deadline - now)
        job = Job(self._place, self._packed, world, self._limits)
        try:
            order = {"target": target, "driver": self._driver, "world": world, "group": group}
            self._start(job, order, deadline)
            return self._measure(job, arguments, kwargs, in_place, deadline)
        finally:
            if job.printed > 2 * KEPT_OUTPUT:
                self.notes.append(f"printed {job.printed / MIB:.0f} MiB; {KEPT_OUTPUT >> 20} MiB were kept")
            if strayed := job.strayed():
                self.notes.append(f"tried {strayed} times to reach a network outside the sandbox")
            job.close()

    def _require(self, target: str) -> None:
        module = target.partition(":")[0]
        if module == "driver" and self._driver is None:
            raise FileNotFoundError(f"{target} is asked for, but this part has no driver file")
        if module != "driver" and f"{module.replace('.', '/')}.py" not in self._packed.names:
            raise StudentError(f"{module}.py is missing; put it beside the notebook")

    def _start(self, job: Job, order: dict[str, Any], deadline: float) -> None:
        world = order["world"]
        for rank in range(world):
            job.send(rank, order, deadline)
        if order["group"]:
            # Rank 0 has imported the submission by then; the others import it meanwhile.
            port = self._answers(job, "port", deadline, ranks=[0])[0]
            for rank in range(1, world):
                job.send(rank, {"port": port}, deadline)
        self._answers(job, "ready", deadline, ranks=range(world))

    def _measure(
        self,
        job: Job,
        arguments: list[tuple[Any, ...]],
        kwargs: dict[str, Any],
        in_place: bool,
        deadline: float,
    ) -> Run:
        before, sent_before, members = job.usage(), job.traffic(), job.members()
        answer = secrets.token_hex(8)
        started = time.perf_counter()
        for rank, args in enumerate(arguments):
            call = {"args": list(args), "kwargs": kwargs, "in_place": in_place, "answer": answer}
            job.send(rank, call, deadline)
        results = self._answers(job, answer, deadline, ranks=range(len(arguments)))
        wall = time.perf_counter() - started
        after, sent = job.usage(), job.traffic()
        left = job.left_since(members)
        job.drain()
        moved = None if sent is None else (sent - sent_before).tolist()
        return Run(
            results=results,
            stdout=job.text("stdout"),
            stderr=job.text("stderr"),
            wall=wall,
            cpu_seconds=after.cpu_seconds - before.cpu_seconds if after else None,
            peak_memory=after.peak_memory if after else None,
            output_bytes=job.printed,
            processes=after.processes if after else None,
            left=left,
            sent=moved[0] if moved else None,
            packets=moved[1] if moved else None,
        )

    def _answer(self, job: Job, key: str, deadline: float) -> Any:
        return self._answers(job, key, deadline, ranks=[0])[0]

    def _answers(self, job: Job, key: str, deadline: float, ranks: Sequence[int]) -> list[Any]:
        """Wait until each of `ranks` sent one message and return its `key`; raise where any rank failed."""

        def failed() -> bool:
            return any(job.closed) or any(
                not isinstance(message, dict) or "error" in message for box in job.inbox for message in box
            )

        def finished() -> bool:
            return failed() or all(job.inbox[rank] for rank in ranks)

        watch = standstill.Watch(job, deadline, self._place.stretch)
        in_time = watch.wait(finished)
        if failed():
            # A rank that breaks makes its neighbours fail too, sometimes first. Hear them all, briefly.
            everyone = range(len(job.inbox))
            heard = lambda: all(job.inbox[rank] or job.closed[rank] for rank in everyone)  # noqa: E731
            job.wait(heard, min(deadline, time.perf_counter() + GRACE * self._place.stretch))
            job.drain()
            raise self._explain(job)
        if not in_time:
            if job.out_of_memory():
                raise self._out_of_memory()
            silent = [rank for rank in ranks if not job.inbox[rank]]
            if watch.stood:
                why, code = standstill.explain(job, silent, watch.seconds, self._packed.names, self.source)
                raise StudentError(why, yours=plain(code, 200), expected="an answer")
            raise StudentError(f"{_who(silent, len(job.inbox))} did not answer within {self._allowed:.3g} s")
        answers = [job.inbox[rank].pop(0) for rank in ranks]
        if any(key not in answer for answer in answers):
            raise StudentError("a worker answered something else than it was asked")
        return [answer[key] for answer in answers]

    def _out_of_memory(self) -> StudentError:
        self.notes.append("stopped by the memory limit")
        return StudentError(f"used more than the {self._limits.memory >> 20} MiB of memory allowed")

    def _explain(self, job: Job) -> StudentError:
        """Return the failure that most likely came first, in one sentence."""
        if job.out_of_memory():
            return self._out_of_memory()
        world = len(job.inbox)
        for rank, why in enumerate(job.closed):
            errors = [m for m in job.inbox[rank] if isinstance(m, dict) and "error" in m]
            if why and not errors:
                end = time.perf_counter() + GRACE * self._place.stretch
                job.wait(lambda rank=rank: rank in job.exits, end)
                return StudentError(f"{_who([rank], world)} {why}{_exit(job.exits.get(rank))}")
        found = []
        for rank, box in enumerate(job.inbox):
            for message in box:
                error = message.get("error") if isinstance(message, dict) else None
                found.append((_is_echo(error), rank, error))
        told = [entry for entry in found if entry[2] is not None]
        _, rank, error = min(told, key=lambda entry: entry[:2], default=(False, 0, None))
        if not isinstance(error, dict):
            return StudentError("a worker answered something else than it was asked")
        kind, message = plain(error.get("type"), 80), plain(error.get("message"), 300)
        if kind == "NotImplementedError" and message.startswith("not implemented yet"):
            return StudentError(message)
        where = ""
        if error.get("file"):
            where = f" at {plain(error['file'], 80)}, line {plain(error.get('line'), 10)}"
        who = f"{_who([rank], world)} raised " if world > 1 else "raised "
        return StudentError(
            f"{who}{kind}: {message}{where}", yours=plain(error.get("code"), 200), expected="no exception"
        )


def plain(value: Any, limit: int) -> str:
    """Return text of a submission as one line without control or direction characters, at most `limit` long."""
    text = value if isinstance(value, str) else str(value)[: limit + 1] if isinstance(value, int) else ""
    hidden = r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\s]+"
    text = re.sub(hidden, " ", text[: 4 * limit])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _hung_up(sock: socket.socket) -> bool:
    """Return whether the other end is closed, without reading what it has sent."""
    poller = select.poll()
    poller.register(sock, 0)
    return bool(poller.poll(0))


def _is_echo(error: Any) -> bool:
    """True for what a rank says when a neighbour is gone."""
    text = str(error.get("message", "")) if isinstance(error, dict) else ""
    return any(words in text for words in ("Connection closed by peer", "Connection reset", "Broken pipe"))


def _who(ranks: Sequence[int], world: int) -> str:
    if world == 1:
        return "the worker"
    return f"rank {ranks[0]}" if len(ranks) == 1 else "ranks " + ", ".join(map(str, ranks))


def _exit(code: int | None) -> str:
    if code is None:
        return ""
    return f" (killed by signal {code - 128})" if code > 128 else f" (exit code {code})"
