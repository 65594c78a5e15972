"""A job that stands still: nobody in it uses a processor, and nobody can go on before the deadline.

Ranks that all wait in `send` would wait until the check's limit, and the student would read no more than "did not
answer". Here a run ends early, but only where its failure at the deadline is certain. For three seconds every
thread of the job has slept without being run once, as the kernel counts it; each sleeps in a system call that ends
by another thread's doing alone, or by a timeout after the deadline; and nothing is under way from outside: no timer,
no packet to be sent again, no connection that leaves the machine. Whatever is unknown or cannot be read is a doubt,
and with a doubt the time limit holds as ever. Sleeping, polling, starved, frozen and stopped programs are therefore
none that stand still.

A worker may look as if it stood still, which ends its own run, or may spin, which brings back the time limit. Where
it stands it says itself (`listen`), so that this is a hint and never a reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import math
import os
import platform
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from grader.sandbox.procfs import numbers, read, stat

QUIET = 3.0  # seconds without use of a processor, longer on a slow machine
LOOKS = 6  # in that time: counted, since a machine that was suspended did not look

# The last real-time signal is the one that a submission least likely uses. Systems without one have no /proc either.
SIGNAL: int = getattr(signal, "SIGRTMAX", 0)
# gloo's thread looks for messages a hundred times a second, also in a program that waits for ever. As long as it
# does and finds none, it uses next to nothing: measured are 0.2 % of a processor.
_POLLER, _POLLERS_SHARE = b"gloo_tcp_loop", 0.02

# What a thread may wait in, by number: the call, and where its timeout stands.
_CALLS = {
    "x86_64": {
        **{0: "read", 19: "read", 45: "read", 47: "read", 43: "read", 288: "read"},  # readv, recv*, accept
        **{1: "read", 20: "read", 44: "read", 46: "read"},  # write, writev, send*
        **{61: "child", 247: "child", 202: "futex", 7: "poll", 271: "ppoll", 23: "select", 270: "pselect"},
        **{232: "epoll", 281: "epoll", 441: "epoll2", 35: "nanosleep", 230: "clock_nanosleep"},
    },
    "aarch64": {
        **{63: "read", 65: "read", 207: "read", 212: "read", 202: "read", 242: "read"},
        **{64: "read", 66: "read", 206: "read", 211: "read"},
        **{260: "child", 95: "child", 98: "futex", 73: "ppoll", 72: "pselect"},
        **{22: "epoll", 441: "epoll2", 101: "nanosleep", 115: "clock_nanosleep"},
    },
}
_MILLISECONDS = {"poll": 2, "epoll": 3}  # argument that is the timeout
_RELATIVE = {"ppoll": 2, "pselect": 4, "select": 4, "epoll2": 3, "nanosleep": 0}  # argument that points to it
_FUTEX_COMMAND, _FUTEX_REALTIME, _FUTEX_WAIT, _FUTEX_WAIT_BITSET = 0x7F, 0x100, 0, 9
_REALTIME, _MONOTONIC, _ABSOLUTE = 0, 1, 1
_UNKNOWN = -math.inf  # when a wait ends that may end at any time

_HARMLESS_INODES = {"anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[io_uring]"}
_HARMLESS_DEVICES = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
_MOST_OPEN = 256  # files of one process; more take too long to look at
# Of /proc/net/tcp: what was sent is not acknowledged and will be sent again; the other end is this machine, or none.
_RESENDS, _HERE = "01:", re.compile(r"(.{6}7F|0{8}|0{32}|0{24}01000000|0{16}FFFF0000.{6}7F):")
_PIDFD_GETFD = 438  # on every processor
_LAST_OWN_SIGNAL = 33  # of the C library, for its threads

_State = dict[tuple[int, int], tuple[bytes, bytes, int, int]]


class Watch:
    """Waits for answers of a job, and sees whether it stands still."""

    def __init__(self, job: Any, deadline: float, stretch: float = 1.0):
        """`job` is a `grader.examine.job.Job`; its time ends at `deadline` (perf_counter)."""
        self._job, self._deadline = job, deadline
        self.seconds = QUIET * stretch
        self._calls = _CALLS.get(platform.machine(), {}) if os.path.exists("/proc/self/schedstat") else {}
        self._seen: list[tuple[Any, _State]] = []
        self.stood = False

    def wait(self, done: Callable[[], bool]) -> bool:
        """Return whether it is done by the deadline; false too, with `stood` set, where it never will be."""
        while not self._job.wait(done, min(self._deadline, time.perf_counter() + self.seconds / LOOKS)):
            if time.perf_counter() >= self._deadline:
                return False
            self.stood = self._stands()
            if self.stood:
                return False
        return True

    def _stands(self) -> bool:
        try:
            found = self._look()
            if found is None:
                self._seen = []
                return False
            if self._seen and not self._is_same(self._seen[-1], found):
                self._seen = []
            self._seen.append(found)
            if len(self._seen) <= LOOKS:
                return False
            first, self._seen = self._seen[0], []
            if not self._pollers_idle(first[1], found[1]) or self._may_go_on(found[1]):
                return False
            last = self._look()
            return last is not None and self._is_same(found, last, hurried=True)
        except (OSError, ValueError, IndexError, struct.error):
            # It changes while it is read, or may not be read.
            self._seen = []
            return False

    def _look(self) -> tuple[Any, _State] | None:
        """Return how often each thread has run, None where one runs, may run, or is stopped."""
        # A kernel on a GPU may run for longer than this looks, and nobody uses a processor meanwhile.
        if not self._calls or self._job.has_gpu or self._job.is_frozen():
            return None
        state: _State = {}
        for pid in sorted(self._members()):
            for name in os.listdir(f"/proc/{pid}/task"):
                comm, fields = stat(f"/proc/{pid}/task/{name}")
                if fields[0] in (b"Z", b"X"):
                    continue
                poller = comm == _POLLER
                if fields[0] != b"S" and not (poller and fields[0] == b"R"):
                    return None
                counts = read(f"/proc/{pid}/task/{name}/schedstat").split()
                state[pid, int(name)] = (comm, fields[1], int(counts[0]), int(counts[2]))
        return (self._job.printed, self._job.last_byte), state

    def _members(self) -> set[int]:
        members = self._job.members()
        return _family(self._job.leader.pid) if members is None else members

    def _is_same(self, old: tuple[Any, _State], new: tuple[Any, _State], hurried: bool = False) -> bool:
        """Return whether nothing has run in between but gloo's pollers, each of them.

        One that did not run was starved, and the message that it has not seen may be the one that all wait for.
        """
        if old[0] != new[0] or old[1].keys() != new[1].keys():
            return False
        for thread, (comm, *counts) in new[1].items():
            changed = counts != list(old[1][thread][1:])
            if changed != (comm == _POLLER) and not (hurried and comm == _POLLER):
                return False
        return True

    def _pollers_idle(self, first: _State, last: _State) -> bool:
        most = _POLLERS_SHARE * self.seconds * 1e9
        return all(
            last[thread][2] - first[thread][2] < most
            for thread, (comm, *_) in last.items()
            if comm == _POLLER
        )

    def _may_go_on(self, state: _State) -> bool:
        """Return whether anything in the job may go on before the deadline, or whether that is not clear."""
        pids = {pid for pid, _ in state}
        if any(map(_has_timer, pids)) or _hear_from_outside(pids):
            return True
        # Each rank has two processes. An alarm that ends a worker ends its run; one that ends a child frees a parent.
        if len(pids) > 2 * self._job.ranks and _alarm_is_set():
            return True
        for (pid, thread), (comm, *_) in state.items():
            if comm != _POLLER and self._end_of_wait(pid, thread) < self._deadline:
                return True
        return False

    def _end_of_wait(self, pid: int, thread: int) -> float:
        """Return when (perf_counter) this thread's system call ends by itself, at the earliest."""
        number, *words = read(f"/proc/{pid}/task/{thread}/syscall").split()
        if not number.isdigit():  # in no call: a page fault, or running
            return _UNKNOWN
        call = self._calls.get(int(number))
        arguments = [int(word, 16) for word in words[:6]]
        if call == "read":
            # A file may lie on a network; pipes and sockets have their other end in the job.
            target = os.readlink(f"/proc/{pid}/fd/{arguments[0]}")
            if target.startswith("socket:"):
                return _UNKNOWN if _gives_up(pid, arguments[0]) else math.inf
            return math.inf if target.startswith("pipe:") else _UNKNOWN
        if call == "child":
            return math.inf
        now = time.perf_counter()
        if call in _MILLISECONDS:
            (timeout,) = struct.unpack("<i", struct.pack("<I", arguments[_MILLISECONDS[call]] & 0xFFFFFFFF))
            return math.inf if timeout < 0 else _begin(pid, now) + timeout / 1e3
        if call in _RELATIVE:
            pointer = arguments[_RELATIVE[call]]
            unit = 1e6 if call == "select" else 1e9
            return _begin(pid, now) + _seconds(pid, pointer, unit) if pointer else math.inf
        if call == "clock_nanosleep":
            clock, flags, pointer = arguments[:3]
            return _on_clock(pid, pointer, clock, now) if flags == _ABSOLUTE else _UNKNOWN
        if call == "futex":
            operation, pointer = arguments[1], arguments[3]
            command = operation & _FUTEX_COMMAND
            if command not in (_FUTEX_WAIT, _FUTEX_WAIT_BITSET):
                return _UNKNOWN
            if not pointer:
                return math.inf
            if command == _FUTEX_WAIT:
                return _begin(pid, now) + _seconds(pid, pointer, 1e9)
            clock = _REALTIME if operation & _FUTEX_REALTIME else _MONOTONIC
            return _on_clock(pid, pointer, clock, now)
        return _UNKNOWN


def _family(leader: int) -> set[int]:
    """Return all that descends from the leader or is in its session: a job without a control group.

    Without namespaces a process that left both is overlooked.
    """
    parents, found = {}, {leader}
    for pid in numbers("/proc"):
        with contextlib.suppress(OSError):
            _, fields = stat(f"/proc/{pid}")
            parents[pid] = int(fields[1])
            if int(fields[3]) == leader:
                found.add(pid)
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    # The leader only waits for the others, with what it inherited from the examiner still open.
    return found - {leader}


def _has_timer(pid: int) -> bool:
    """Return whether a timer may interrupt this process: one that it has, or a signal that it awaits."""
    with contextlib.suppress(FileNotFoundError):  # not every kernel shows timers
        if read(f"/proc/{pid}/timers"):
            return True
    handlers = re.search(rb"^SigCgt:\s*(\w+)$", read(f"/proc/{pid}/status"), re.M)
    if handlers is None:  # nor does every kernel show these
        return True
    caught = int(handlers[1], 16)
    timers = 1 << signal.SIGALRM - 1 | (1 << 64) - (1 << _LAST_OWN_SIGNAL)
    return bool(caught & timers & ~(1 << SIGNAL - 1))


def _alarm_is_set() -> bool:
    """Return whether alarm(2) or setitimer(2) of a process is running, or whether that is not clear.

    The kernel tells root only, and of the whole machine.
    """
    try:
        return b"it_real_fn" in read("/proc/timer_list")
    except OSError:
        return True


def _gives_up(pid: int, descriptor: int) -> bool:
    """Return whether a read or write of this socket ends by a timeout of its own, or whether that is not clear."""
    process = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, descriptor, 0)
        if copy < 0:
            return True
        with socket.socket(fileno=copy) as one:
            limits = [
                one.getsockopt(socket.SOL_SOCKET, name, 16)
                for name in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)
            ]
        return any(map(any, limits))
    except OSError:
        return True
    finally:
        os.close(process)


def _hear_from_outside(pids: set[int]) -> bool:
    """Return whether an open file of these processes may wake one of them without the job's doing."""
    sockets, networks = set(), {}
    for pid in pids:
        names = os.listdir(f"/proc/{pid}/fd")
        if len(names) > _MOST_OPEN:
            return True
        for name in names:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            is_device = target.startswith("/dev/") and not target.startswith("/dev/shm/")
            if target.startswith("anon_inode:") and target not in _HARMLESS_INODES:
                return True
            if is_device and target not in _HARMLESS_DEVICES:
                return True
            if target.startswith("socket:["):
                sockets.add(target[len("socket:[") : -1])
        networks[os.readlink(f"/proc/{pid}/ns/net")] = pid
    # A network of their own has nobody in it but the ranks of the job.
    ours = os.readlink("/proc/self/ns/net")
    for network, pid in networks.items():
        for local, remote, timer, inode in _connections(pid):
            leaves = network == ours and not _HERE.match(remote) and remote[:-5] != local[:-5]
            # In a network of their own a socket that nobody has accepted yet is theirs too.
            if timer.startswith(_RESENDS) and (inode in sockets or network != ours):
                return True
            if leaves and inode in sockets:
                return True
    return False


def _connections(pid: int) -> Iterator[tuple[str, str, str, str]]:
    """Yield local and remote address, timer and inode of each TCP socket in the network of a process."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            for line in read(f"/proc/{pid}/net/{table}").decode().splitlines()[1:]:
                fields = line.split()
                yield fields[1], fields[2], fields[5], fields[9]


def _begin(pid: int, now: float) -> float:
    """Return when (perf_counter) a process began; no wait of its own began before."""
    _, fields = stat(f"/proc/{pid}")
    return now - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _on_clock(pid: int, pointer: int, clock: int, now: float) -> float:
    if clock not in (_REALTIME, _MONOTONIC):
        return _UNKNOWN
    return now + _seconds(pid, pointer, 1e9) - time.clock_gettime(clock)


def _seconds(pid: int, pointer: int, unit: float) -> float:
    """Read a timespec, or a timeval, in the memory of a process."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        whole, part = struct.unpack("<qq", os.pread(memory.fileno(), 16, pointer))
    return whole + part / unit


def listen() -> None:
    """Let this worker say on standard error where it stands when it is asked. Call it before student code runs."""
    if SIGNAL:
        faulthandler.register(SIGNAL, file=2, all_threads=False)
