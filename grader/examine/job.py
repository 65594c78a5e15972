"""One job seen from the examiner: sockets to its ranks, their output, and the counters around them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from grader.examine import weaker
from grader.examine.cards import Card
from grader.examine.checks import StudentError, Undecided
from grader.examine.place import Place
from grader.examine.printed import Printed, hung_up, lying, who
from grader.sandbox import network, wire
from grader.sandbox.build import MIB, Limits, Request, SandboxError
from grader.sandbox.cgroup import CgroupError, Usage
from grader.sandbox.packed import Packed
from grader.sandbox.users import WORKER_UIDS

KEPT_OUTPUT = 1 * MIB  # of each of stdout and stderr; the rest is counted and dropped
MAX_OUTPUT = 1024 * MIB  # a submission that prints more is stopped
ENDED = "ended without an answer"
HANDED_OVER = "talks to another worker"
GRACE = 1.0  # seconds that other ranks get to say why, after one has failed
MOMENT = 0.5  # seconds that a process may take to die after the answer
_JOBS = itertools.count()


class Job:
    """One job seen from the examiner: sockets to its ranks, their output, and the counters around them."""

    def __init__(
        self,
        place: Place,
        packed: Packed,
        ranks: int,
        limits: Limits,
        *,
        dialed: bool = False,
        card: Card | None = None,
    ):
        """Start `ranks` workers; with `dialed`, one, to which connections can be made (`dial`).

        `card` is the GPU that they have. Raises SandboxError where the sandbox cannot be built, or the GPU is not as
        an earlier job found it.
        """
        self._place, self._card = place, None
        self._scratch = "" if place.isolated else tempfile.mkdtemp(prefix=f"grader-{os.getpid()}-")
        self._cgroup = None
        if place.cgroups is not None:
            self._cgroup = place.cgroups.create(
                memory=limits.memory,
                processes=limits.processes,
                cpus=limits.cpus or ranks + 1,
                allowed=card.gpu.allowed() if card and place.isolated else None,
            )
        request = Request(
            ranks=ranks,
            isolated=place.isolated,
            limits=limits,
            cgroup=self._cgroup.paths if self._cgroup else [],
            readonly=place.readonly,
            scratch=self._scratch,
            user=WORKER_UIDS[(os.getpid() + next(_JOBS)) % len(WORKER_UIDS)],
            dialed=dialed and place.isolated,
            gpu=card.gpu if card else None,
        )
        pairs = [socket.socketpair() for _ in range(ranks)]
        # Sockets, not pipes: a pipe can be opened anew through /proc and read by another rank.
        out, err, status = socket.socketpair(), socket.socketpair(), socket.socketpair()
        for ours, _ in (out, err):
            Printed.listen(ours)
        dialer = [socket.socketpair()] if request.dialed else []
        every = [*pairs, out, err, status, *dialer]
        try:
            theirs = [pair[1].fileno() for pair in every]
            if card is not None:
                card.begin()
                self._card = card
                theirs.append(card.lease.fileno())
            self.leader = place.zygote.spawn(request, [packed.descriptor, *theirs])
        except BaseException:
            for ours, _ in every:
                ours.close()
            if self._card is not None:
                self._card.ending()
            self._clean_up()
            raise
        finally:
            for _, end in every:
                end.close()
        self._workers = [pair[0] for pair in pairs]
        self._frames = [wire.Frames() for _ in pairs]
        self._streams = {out[0]: bytearray(), err[0]: bytearray()}
        self._out, self._err, self._status = out[0], err[0], status[0]
        self._dialer = dialer[0][0] if dialer else None
        self._dialing = threading.Lock()
        self._printed = Printed()
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

    @property
    def is_apart(self) -> bool:
        """Whether the job has a network of its own."""
        return self._place.isolated

    def dial(self) -> socket.socket:
        """Return a TCP socket of the network of the one rank, not yet connected; several threads may ask.

        Raises StudentError where the job has ended.
        """
        if self._dialer is None:
            return socket.socket()
        with self._dialing, contextlib.suppress(OSError):
            self._dialer.settimeout(10 * self._place.stretch)
            self._dialer.sendall(b"s")
            _, found, *_ = socket.recv_fds(self._dialer, 1, 1)
            if found:
                return socket.socket(fileno=found[0])
        raise StudentError("the processes of your server have ended")

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

    @property
    def ranks(self) -> int:
        """How many ranks the job has."""
        return len(self.inbox)

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

    def printed_lines(self, most: int) -> list[str]:
        """Return the last `most` lines that each rank printed so far, with its name where there are several."""
        said = self._printed.lines(self._pids, most)
        names = {rank: "" if len(self.inbox) == 1 or rank is None else f"rank {rank}: " for rank, _ in said}
        return [names[rank] + line for rank, line in said]

    def drain(self) -> None:
        """Take what already lies in the streams; all of it came before what was last received.

        What a process wrote to standard output before a line of standard error must not come after it. So standard
        error is measured first, and no more of it is read than lay there then: standard output, measured and read
        next, holds all that came before. Nor more than was measured: one that goes on printing must not keep
        the examiner.
        """
        there = [(sock, lying(sock)) for sock in (self._err, self._out)]
        for sock, left in reversed(there):
            end = self.printed + left
            while self.printed < end and sock in self._selector.get_map() and self._ready(sock):
                self._read_stream(sock, end - self.printed)

    def usage(self) -> Usage | None:
        return self._cgroup.usage() if self._cgroup else None

    @property
    def has_gpu(self) -> bool:
        """Whether it may wait for what no counter of a processor shows."""
        return self._card is not None

    def peak_gpu_memory(self) -> int | None:
        """Return the most bytes of its GPU's memory that the job used, None where it has no GPU."""
        return None if self._card is None else self._card.peak()

    def members(self) -> set[int] | None:
        """Return the processes of the job that are alive, None without control groups."""
        return self._cgroup.members() if self._cgroup else None

    def left_since(self, before: set[int] | None) -> int | None:
        """Return how many processes have begun since `before` and do not end within a moment."""
        if before is None or self._cgroup is None:
            return None
        end = time.perf_counter() + MOMENT * self._place.stretch
        while (left := len(self._cgroup.members() - before)) and time.perf_counter() < end:
            time.sleep(0.01)
        return left

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed a process of the job for its memory."""
        usage = self.usage()
        return usage is not None and usage.oom_kills > 0

    def traffic(self) -> np.ndarray | None:
        """Return bytes and packets sent so far, [2, sender, receiver]: of cables, without isolation of sockets.

        None where neither can be read. Raises StudentError where a rank has left and taken its counters along.
        """
        world = len(self.inbox)
        if not self._place.isolated:
            return weaker.traffic(self._pids, world) if world > 1 else None
        found = np.zeros((2, world, world), dtype=np.int64)
        if world == 1:
            return found
        self.wait(lambda: len(self._pids) == world, time.perf_counter() + GRACE * self._place.stretch)
        for rank in range(world):
            try:
                text = Path(f"/proc/{self._pids[rank]}/net/dev").read_text()
            except OSError:
                raise StudentError(f"{who([rank], world)} ended before it was asked to") from None
            found[:, rank] = network.sent(text, world)
        return found

    def strayed(self) -> int:
        """Return how often the job tried to send to an address that no worker has, as the kernel counts it.

        0 where a worker has gone: its cables went with it, and what was on the way to it counts as such an attempt.
        """
        counters = [Path(f"/proc/{pid}/net/snmp") for pid in self._pids.values() if self._place.isolated]
        with contextlib.suppress(OSError):
            count = sum(network.without_route(file.read_text()) for file in counters)
            return count if all(file.exists() for file in counters) else 0
        return 0

    def end(self) -> None:
        """Kill every process of the job, without waiting until they are gone."""
        if self._ended:
            return
        self._ended = True
        self._place.note_end(self._was_killed(), self.usage())
        if self._card is not None:
            self._card.ending()
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
        for sock in (*self._workers, self._out, self._err, self._status, self._dialer):
            if sock is not None:
                sock.close()
        self._clean_up()

    def _was_killed(self) -> bool:
        """Return whether SIGKILL ended a rank from outside; a rank may also have sent it to itself."""
        if self.out_of_memory():
            return False
        dead = [
            rank
            for rank, why in enumerate(self.closed)
            if why == ENDED or (why == HANDED_OVER and hung_up(self._workers[rank]))
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
        try:
            if self._cgroup is not None:
                self._cgroup.remove()
            if self._scratch:
                shutil.rmtree(self._scratch, ignore_errors=True)
        finally:
            if self._card is not None:
                self._card.ended()

    def _handle(self, seconds: float) -> None:
        for rank, sock in enumerate(self._workers):
            if not (self.inbox[rank] or self.closed[rank] or sock in self._selector.get_map()):
                self._selector.register(sock, selectors.EVENT_READ, rank)
        prints = False
        for key, _ in self._selector.select(seconds):
            if key.data is not None:
                self._read_worker(key.data)
            elif key.fileobj is self._status:
                self._read_stream(self._status)
            else:
                prints = True
        if prints:
            self.drain()
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

    def _read_stream(self, sock: socket.socket, most: int = 1 << 18) -> None:
        data = sock.recv(most) if sock is self._status else self._printed.receive(sock, most)
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
