"""What can be told of workers from outside where there are no namespaces or no control groups: less, and named so.

Linux lets a user read of his own processes how much memory each had at its most, and of their TCP sockets how many
bytes came in (sock_diag(7)). Processes that ended and sockets that were closed have taken their counts along, and a
program that wants to can hide from both: good enough for one's own code, never for a grade.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from grader.sandbox import procfs

BYTES = "weaker, by the ranks' TCP sockets: no network namespaces here"
MEMORY = "weaker, by VmHWM of the processes: no control groups here"
TIME = "weaker, by wall time, and nothing is frozen: no control groups here"

_SOCK_DIAG, _ERROR, _DONE = 20, 2, 3  # types of messages; _DONE ends a list
_REQUEST, _DUMP = 0x1, 0x300
_INFO = 2  # the attribute with struct tcp_info
_SEGMENTS_OUT, _BYTES_IN = 136, 128  # within it
_HEAD = struct.Struct("=BBBB4s32s4x8x5I")  # struct inet_diag_msg up to its last field, the inode


def processes(first: Mapping[int, int]) -> dict[int, list[int]]:
    """Return the processes of each rank, by the numbers of their first ones; none where there is no /proc."""
    if sys.platform != "linux":
        return {}
    below: dict[int, list[int]] = {}
    for pid in procfs.numbers("/proc"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            below.setdefault(int(procfs.stat(f"/proc/{pid}")[1][1]), []).append(pid)
    found = {}
    for rank, pid in first.items():
        found[rank], waiting = [], [pid]
        while waiting:
            found[rank].append(waiting.pop())
            waiting += below.get(found[rank][-1], [])
    return found


def begin_peak(first: Mapping[int, int]) -> int | None:
    """Let the peaks of these ranks begin anew; return the bytes that they have now, None where that is not told."""
    for pids in processes(first).values():
        for pid in pids:
            with contextlib.suppress(
                OSError
            ):  # the kernel may keep this to itself: the peak is then of all time
                Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(first)


def peak(first: Mapping[int, int]) -> int | None:
    """Return the bytes that these ranks' processes had resident, each at its most; None where that is not told."""
    found = None
    for pids in processes(first).values():
        for pid in pids:
            with contextlib.suppress(OSError):
                if line := re.search(
                    rb"^VmHWM:\s+(\d+) kB", procfs.read(f"/proc/{pid}/status"), re.MULTILINE
                ):
                    found = (found or 0) + (int(line[1]) << 10)
    return found


def traffic(first: Mapping[int, int], world: int) -> np.ndarray | None:
    """Return bytes and packets on the ranks' sockets so far, [2, sender, receiver]; None where that is not told."""
    owner = {}
    for rank, pids in processes(first).items():
        for pid in pids:
            with contextlib.suppress(OSError):
                for number in procfs.numbers(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        if (target := os.readlink(f"/proc/{pid}/fd/{number}")).startswith("socket:["):
                            owner[int(target[8:-1])] = rank
    try:
        sockets = [*_sockets(socket.AF_INET), *_sockets(socket.AF_INET6)] if owner else None
    except OSError:
        return None
    if sockets is None:
        return None
    ranks = {ends: owner[inode] for ends, inode, *_ in sockets if inode in owner}
    found = np.zeros((2, world, world), dtype=np.int64)
    for (here, there), inode, segments, received in sockets:
        if inode in owner and (there, here) in ranks:
            found[0, ranks[there, here], owner[inode]] += received
            found[1, owner[inode], ranks[there, here]] += segments
    return found


def _sockets(family: int) -> list[tuple[tuple[bytes, bytes], int, int, int]]:
    """Return ((own end, other end), inode, segments sent, bytes received) of this machine's TCP sockets."""
    asked = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 1 << _INFO - 1, 0xFFFFFFFF)
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as kernel:  # NETLINK_SOCK_DIAG
        kernel.settimeout(5)
        kernel.send(struct.pack("=IHHII", 16 + len(asked), _SOCK_DIAG, _REQUEST | _DUMP, 1, 0) + asked)
        while True:
            data = kernel.recv(1 << 20)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                body, data = data[16:size], data[size + 3 & ~3 :]
                if kind == _ERROR:
                    raise OSError("the kernel lists no sockets")
                if kind == _DONE:
                    return found
                *_, ports, addresses, _, _, _, _, inode = _HEAD.unpack_from(body)
                ends = (addresses[:16] + ports[:2], addresses[16:] + ports[2:])
                attributes = body[_HEAD.size :]
                while len(attributes) >= 4:
                    length, attribute = struct.unpack_from("=HH", attributes)
                    info, attributes = attributes[4:length], attributes[max(length, 4) + 3 & ~3 :]
                    if attribute == _INFO and len(info) >= _SEGMENTS_OUT + 4:
                        segments = struct.unpack_from("=I", info, _SEGMENTS_OUT)[0]
                        found.append((ends, inode, segments, struct.unpack_from("=Q", info, _BYTES_IN)[0]))
