"""A submission as a check sees it: `sub.call`, `sub.ranks`, fresh random inputs, and what was measured outside."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import selectors
import shutil
import socket
import stat
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grader import wire
from grader.cgroup import Cgroups, Usage
from grader.checks import Check, StudentError, record
from grader.sandbox import MIB, Limits, Request, SandboxError
from grader.zygote import Zygote

MAX_FILES = 2000
MAX_BYTES = 64 * MIB  # in one submission
KEPT_OUTPUT = 1 * MIB  # of each of stdout and stderr; the rest is counted and dropped
MAX_OUTPUT = 1024 * MIB  # a submission that prints more is stopped
GRACE = 1.0  # seconds that other ranks get to say why, after one has failed
_SKIPPED = {".git", "__pycache__", ".ipynb_checkpoints", ".venv", ".pytest_cache", "checks", "wrong"}


class Packed:
    """The files of one submission, read once, as one descriptor that a sandbox unpacks."""

    def __init__(self, folder: Path, first: Sequence[str] = ()):
        """Read every regular file under `folder`, those named in `first` before all others.

        `notes` says in one sentence each what was left out: links, special files, what exceeds the limits.
        """
        self.notes: list[str] = []
        self.folder = Path(folder)
        contents: list[tuple[str, bytes]] = []
        total = 0
        for name in self._names(list(first)):
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
        for top, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if name not in _SKIPPED)
            found += [os.path.relpath(os.path.join(top, name), self.folder) for name in sorted(files)]
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
        self, shape: Sequence[int], *, mean: float = 0.0, std: float = 1.0, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Return a tensor of Gaussian numbers."""
        return torch.from_numpy(self._rng.normal(mean, std, tuple(shape))).to(dtype)

    def uniform(
        self, low: float, high: float, shape: Sequence[int], *, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Return a tensor of numbers in [low, high)."""
        return torch.from_numpy(self._rng.uniform(low, high, tuple(shape))).to(dtype)

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
    network_bytes: int | None  # over the loopback of the job's network namespace
    network_packets: int | None

    @property
    def result(self) -> Any:
        return self.results[0]


@dataclass
class Place:
    """Where jobs run: the zygote, and what this machine offers to confine and to measure them."""

    zygote: Zygote
    isolated: bool
    cgroups: Cgroups | None
    readonly: list[str] = field(default_factory=list)


class Job:
    """One job seen from the examiner: sockets to its ranks, their output, and the counters around them."""

    def __init__(self, place: Place, packed: Packed, ranks: int, limits: Limits):
        """Start `ranks` workers. Raises SandboxError where the sandbox cannot be built."""
        self._place = place
        self._scratch = "" if place.isolated else tempfile.mkdtemp(prefix="grader-")
        self._cgroup = None
        if place.cgroups is not None:
            self._cgroup = place.cgroups.create(memory=limits.memory, processes=limits.processes)
        request = Request(
            ranks=ranks,
            isolated=place.isolated,
            limits=limits,
            cgroup=self._cgroup.paths if self._cgroup else [],
            readonly=place.readonly,
            scratch=self._scratch,
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
        self.inbox: list[list[Any]] = [[] for _ in pairs]
        self.closed: list[str | None] = [None] * ranks  # why a rank can say no more
        self.exits: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        for number, sock in enumerate(self._workers):
            self._selector.register(sock, selectors.EVENT_READ, number)
        for sock in (self._out, self._err, self._status):
            self._selector.register(sock, selectors.EVENT_READ, None)

    def send(self, rank: int, message: dict[str, Any], deadline: float) -> None:
        """Send to one rank; a rank that does not take its message in time counts as silent, not as an error."""
        sock = self._workers[rank]
        sock.settimeout(max(0.001, deadline - time.perf_counter()))
        with contextlib.suppress(OSError):  # gone or stuck: what it said, or its silence, tells why
            sock.sendall(wire.encode(message))
        sock.settimeout(None)

    def wait(self, done: Callable[[], bool], deadline: float) -> bool:
        """Handle what arrives until `done()` or the deadline (perf_counter); returns whether it is done."""
        while not done():
            left = deadline - time.perf_counter()
            if left <= 0:
                return False
            for key, _ in self._selector.select(left):
                if key.data is None:
                    self._read_stream(key.fileobj)
                else:
                    self._read_worker(key.data)
            if self.printed > MAX_OUTPUT:
                raise StudentError(f"printed more than {MAX_OUTPUT >> 20} MiB and was stopped")
        return True

    def text(self, name: str) -> str:
        """Return what all ranks wrote to `stdout` or `stderr` so far, in order of arrival."""
        sock = self._out if name == "stdout" else self._err
        return self._streams[sock].decode("utf-8", "replace")

    def drain(self) -> None:
        """Take what already lies in the streams; all of it came before what was last received."""
        for sock in (self._out, self._err):
            while sock in self._selector.get_map() and self._ready(sock):
                self._read_stream(sock)

    def usage(self) -> Usage | None:
        return self._cgroup.usage() if self._cgroup else None

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed a process of the job for its memory."""
        usage = self.usage()
        return usage is not None and usage.oom_kills > 0

    def network(self) -> tuple[int, int] | None:
        """Return bytes and packets sent over the loopback of this job, None without isolation."""
        if not self._place.isolated:
            return None
        for line in Path(f"/proc/{self.leader.pid}/net/dev").read_text().splitlines():
            name, _, counters = line.partition(":")
            if name.strip() == "lo":
                values = counters.split()
                return int(values[8]), int(values[9])
        return None

    def close(self) -> None:
        """End every process of the job and give back what it held."""
        self.leader.kill()
        # Until the last holder of the status socket is gone, so that no process outlives its job. It may have
        # gone on printing until it died, which no longer matters.
        with contextlib.suppress(StudentError):
            self.wait(lambda: self._status not in self._selector.get_map(), time.perf_counter() + 10)
        self._selector.close()
        self.leader.close()
        for sock in (*self._workers, self._out, self._err, self._status):
            sock.close()
        self._clean_up()

    def _clean_up(self) -> None:
        if self._cgroup is not None:
            self._cgroup.remove()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _ready(self, sock: socket.socket) -> bool:
        return any(key.fileobj is sock for key, _ in self._selector.select(0))

    def _read_worker(self, rank: int) -> None:
        try:
            message = self._frames[rank].receive(self._workers[rank])
            if message is not None:
                self.inbox[rank].append(message[0])
            return
        except (EOFError, ConnectionError):
            self.closed[rank] = "ended without an answer"
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
                self.exits[line["rank"]] = line["exit"]
        else:
            self.printed += len(data)
            kept = self._streams[sock]
            kept += data[: KEPT_OUTPUT - len(kept)]


class Submission:
    """What a check is given as `sub`."""

    def __init__(
        self, place: Place, packed: Packed, check: Check, *, driver: str | None, memory: int, seed: int
    ):
        self._place, self._packed, self._driver = place, packed, driver
        self._deadline = time.perf_counter() + check.wall
        self._wall = self._allowed = check.wall
        self._limits = Limits(memory=check.memory or memory)
        self.rng = Rng(seed, check.name)
        self.notes: list[str] = []

    def call(self, target: str, *args: Any, wall: float | None = None, **kwargs: Any) -> Run:
        """Call `"module:function"` of the submission (or of the driver) in one worker without a process group.

        `wall` bounds this call in seconds, beside the check's own bound. Raises StudentError where the
        submission raises, exits, is too slow, uses too much memory or lacks the function.
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
        module = target.partition(":")[0]
        if module == "driver" and self._driver is None:
            raise FileNotFoundError(f"{target} is asked for, but this part has no driver file")
        if module != "driver" and f"{module.replace('.', '/')}.py" not in self._packed.names:
            raise StudentError(f"{module}.py is missing; put it beside the notebook")
        now = time.perf_counter()
        deadline = min(self._deadline, now + (wall or self._wall))
        self._allowed = max(0.0, deadline - now)
        job = Job(self._place, self._packed, world, self._limits)
        try:
            order = {"target": target, "driver": self._driver, "world": world, "group": group}
            self._start(job, order, deadline)
            return self._measure(job, arguments, kwargs, in_place, deadline)
        finally:
            if job.printed > 2 * KEPT_OUTPUT:
                self.notes.append(f"printed {job.printed / MIB:.0f} MiB; {KEPT_OUTPUT >> 20} MiB were kept")
            job.close()

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
        before, network = job.usage(), job.network()
        started = time.perf_counter()
        for rank, args in enumerate(arguments):
            call = {"args": list(args), "kwargs": kwargs, "in_place": in_place}
            job.send(rank, call, deadline)
        results = self._answers(job, "result", deadline, ranks=range(len(arguments)))
        wall = time.perf_counter() - started
        after, traffic = job.usage(), job.network()
        job.drain()
        return Run(
            results=results,
            stdout=job.text("stdout"),
            stderr=job.text("stderr"),
            wall=wall,
            cpu_seconds=after.cpu_seconds - before.cpu_seconds if after else None,
            peak_memory=after.peak_memory if after else None,
            network_bytes=traffic[0] - network[0] if traffic else None,
            network_packets=traffic[1] - network[1] if traffic else None,
        )

    def _answers(self, job: Job, key: str, deadline: float, ranks: Sequence[int]) -> list[Any]:
        """Wait until each of `ranks` sent one message and return its `key`; raise where any rank failed."""

        def failed() -> bool:
            return any(job.closed) or any(
                not isinstance(message, dict) or "error" in message for box in job.inbox for message in box
            )

        def finished() -> bool:
            return failed() or all(job.inbox[rank] for rank in ranks)

        in_time = job.wait(finished, deadline)
        if failed():
            # A rank that breaks makes its neighbours fail too, sometimes first. Hear them all, briefly.
            everyone = range(len(job.inbox))
            heard = lambda: all(job.inbox[rank] or job.closed[rank] for rank in everyone)  # noqa: E731
            job.wait(heard, min(deadline, time.perf_counter() + GRACE))
            job.drain()
            raise self._explain(job)
        if not in_time:
            if job.out_of_memory():
                raise self._out_of_memory()
            silent = [rank for rank in ranks if not job.inbox[rank]]
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
                job.wait(lambda rank=rank: rank in job.exits, time.perf_counter() + GRACE)
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
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\s]+", " ", text[: 4 * limit])
    return text if len(text) <= limit else text[: limit - 3] + "..."


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
