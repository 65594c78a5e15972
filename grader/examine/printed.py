"""What the processes of a job print: the last of each rank apart, for the student who looks for a mistake."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import termios
from collections import deque
from collections.abc import Mapping, Sequence

from grader.sandbox.procfs import stat
from grader.text import plain

KEPT, CHUNKS = 1 << 16, 256  # bytes of each process that prints, and pieces of them
WRITERS = 256  # processes kept apart; what others print counts as nobody's
ANCESTORS = 16  # from a process that prints up to the first one of its rank
MOST_IN_A_LINE = 200  # characters
_CREDENTIALS = struct.Struct("3i")
NOBODY = 0
# What PyTorch says while ranks meet in a sandbox, where addresses have no names.
NOT_THEIRS = "[c10d] The hostname of the client socket cannot be retrieved."


class Printed:
    """Keeps the end of what each process of a job printed, in order of arrival."""

    def __init__(self) -> None:
        self._chunks: dict[int, deque[tuple[int, bytes]]] = {}
        self._size: dict[int, int] = {}
        self._ancestors: dict[int, list[int]] = {}
        self._count = 0

    @staticmethod
    def listen(sock: socket.socket) -> None:
        """Ask the kernel to say which process sent what arrives on `sock`; without that, it is nobody's."""
        if hasattr(socket, "SO_PASSCRED"):  # Linux
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def receive(self, sock: socket.socket, most: int) -> bytes:
        """Return up to `most` bytes from `sock`, all of one process, and keep their end; none where it is closed."""
        data, notes, *_ = sock.recvmsg(most, socket.CMSG_SPACE(_CREDENTIALS.size))
        sender = NOBODY
        for level, kind, content in notes:
            if (level, kind) == (socket.SOL_SOCKET, getattr(socket, "SCM_CREDENTIALS", None)):
                sender = _CREDENTIALS.unpack(content)[0]
        if data:
            self._keep(sender, data)
        return data

    def lines(self, first_pids: Mapping[int, int], most: int) -> list[tuple[int | None, str]]:
        """Return the last `most` lines of each rank, in order of ranks; None is the rank of what is nobody's.

        `first_pids` gives of each rank the process that all others of the rank descend from.
        """
        ranks = {pid: rank for rank, pid in first_pids.items()}
        whole: dict[int | None, list[tuple[int, bytes]]] = {}
        for sender, chunks in self._chunks.items():
            known = (ranks[pid] for pid in self._ancestors[sender] if pid in ranks)
            whole.setdefault(next(known, None), []).extend(chunks)
        found = []
        for rank in sorted(whole, key=lambda rank: (rank is None, rank)):
            text = b"".join(data for _, data in sorted(whole[rank])).decode("utf-8", "replace")
            said = [line for line in text.splitlines() if line.strip() and NOT_THEIRS not in line]
            found += [(rank, plain(line, MOST_IN_A_LINE)) for line in said[-most:]]
        return found

    def _keep(self, sender: int, data: bytes) -> None:
        if sender not in self._chunks:
            sender = sender if len(self._chunks) < WRITERS else NOBODY
            self._chunks.setdefault(sender, deque())
            self._size.setdefault(sender, 0)
            # Now, while it lives: most have ended when somebody asks.
            self._ancestors.setdefault(sender, _ancestors(sender))
        self._count += 1
        chunks = self._chunks[sender]
        chunks.append((self._count, data[-KEPT:]))
        self._size[sender] += len(chunks[-1][1])
        while self._size[sender] > KEPT or len(chunks) > CHUNKS:
            self._size[sender] -= len(chunks.popleft()[1])


def _ancestors(pid: int) -> list[int]:
    """Return the process and those that it descends from, as far as they can be seen."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        while pid > 1 and len(found) < ANCESTORS:
            found.append(pid)
            _, fields = stat(f"/proc/{pid}")
            pid = int(fields[1])
    return found


def lying(sock: socket.socket) -> int:
    """Return how many bytes can be read from `sock` at once."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]


def who(ranks: Sequence[int], world: int) -> str:
    """Return these ranks' name in a sentence to a student, for whom a worker is a process of their own."""
    if world == 1:
        return "your code"
    return f"rank {ranks[0]}" if len(ranks) == 1 else "ranks " + ", ".join(map(str, ranks))


def hung_up(sock: socket.socket) -> bool:
    """Return whether the other end is closed, without reading what it has sent."""
    poller = select.poll()
    poller.register(sock, 0)
    return bool(poller.poll(0))
