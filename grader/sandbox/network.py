"""A private network for the ranks of a job: one namespace per rank, one cable per pair of ranks.

Every pair is joined by a veth cable of its own, so the kernel's counters of the two ends are the traffic of that
pair, and the examiner reads them from outside. Nothing crosses a cable but what the ranks send: no IPv6
address, no address resolution. Spoken to the kernel in rtnetlink(7), so that no program and no library is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

LOOPBACK = "lo" if sys.platform == "linux" else "lo0"

_NEWNET = 0x40000000
_NEWLINK, _NEWADDR, _ERROR = 16, 20, 2
_REQUEST, _ACK, _CREATE, _EXCLUSIVE = 1, 4, 0x400, 0x200
_UP, _NO_ARP = 0x1, 0x80
_ETHTOOL, _SET_TSO, _SET_GRO = 0x8946, 0x1F, 0x2C
_MTU = 65535  # as large as a loopback's, so that a tensor travels in as few packets
_FIRST = 10  # number of the first cable; the loopback has 1


class NetworkError(Exception):
    """The kernel refused a part of the network; says which."""


def name(rank: int, world: int) -> str:
    """Return the host name by which the others reach `rank`; one alone has nothing but its loopback."""
    return f"rank{rank}" if world > 1 else "localhost"


def hosts(rank: int, world: int) -> str:
    """Return the text of `/etc/hosts` of a rank: gloo listens where the machine's own name leads."""
    lines = [
        "127.0.0.1 localhost",
        "::1 localhost",
        f"{_address(rank) if world > 1 else '127.0.0.1'} sandbox",
    ]
    return (
        "\n".join(
            [*lines, *(f"{_address(other)} {name(other, world)}" for other in range(world) if world > 1)]
        )
        + "\n"
    )


def new(ranks: int) -> list[int]:
    """Make one network namespace per rank, joined pairwise, and return a descriptor of each.

    The caller is left in the last of them, so it must be a process of its own; it needs CAP_NET_ADMIN and
    CAP_SYS_ADMIN in its user namespace. Raises NetworkError where the kernel refuses.
    """
    namespaces, sockets = [], []
    for _ in range(ranks):
        if ctypes.CDLL(None, use_errno=True).unshare(_NEWNET) < 0:
            raise NetworkError(f"a network namespace: {os.strerror(ctypes.get_errno())}")
        namespaces.append(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        sockets.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))
        _ask(sockets[-1], _NEWLINK, 0, _link(1, _UP), "the loopback")
        _send_nothing_twice()
    for one in range(ranks):
        for two in range(one):
            _join(sockets[one], sockets[two], one, two, namespaces[two])
    for sock in sockets:
        sock.close()
    return namespaces


def _send_nothing_twice() -> None:
    # On a busy machine an acknowledgement is late, and TCP sends the last segment again (a tail loss probe). On
    # a cable that loses nothing this is only noise in the counters: up to a tenth of a megabyte's transfer.
    with contextlib.suppress(OSError):  # /proc/sys is read-only in some containers
        Path("/proc/sys/net/ipv4/tcp_early_retrans").write_text("0")


def enter(namespace: int) -> None:
    """Move this process into a network namespace made by `new`."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _NEWNET) < 0:
        raise NetworkError(f"entering a network namespace: {os.strerror(ctypes.get_errno())}")


def hand_out(control: int) -> None:
    """Send a new TCP socket for each byte that comes on the socket `control`, until its other end is closed.

    A socket belongs for ever to the network in which it was made, and here that is this process's. Whoever gets it
    connects it, at a time and with a patience of his own: nothing that listens there can keep this process.
    """
    with socket.socket(fileno=control) as examiner:
        while examiner.recv(1):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
                socket.send_fds(examiner, [b"s"], [one.fileno()])


def sent(text: str, world: int) -> tuple[list[int], list[int]]:
    """Return the bytes and packets that a rank sent to each other rank, from the text of its `net/dev`."""
    sizes, packets = [0] * world, [0] * world
    for line in text.splitlines():
        name, _, counters = line.partition(":")
        if name.strip().startswith("rank"):
            rank, values = int(name.strip()[4:]), counters.split()
            sizes[rank], packets[rank] = int(values[8]), int(values[9])
    return sizes, packets


def without_route(text: str) -> int:
    """Return how many packets found no route, from the text of a rank's `net/snmp`."""
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith("Ip: "))
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"])


def _address(rank: int) -> str:
    return f"10.0.0.{rank + 1}"


def _join(here: socket.socket, there: socket.socket, one: int, two: int, namespace: int) -> None:
    # Both ends have one hardware address: without address resolution a packet carries the sender's own.
    hardware = struct.pack("!BBHH", 2, 0, one, two)
    peer = _link(_FIRST + one) + _end(f"rank{one}", hardware) + _attribute(28, struct.pack("i", namespace))
    kind = _attribute(1, b"veth") + _attribute(2, _attribute(1, peer))
    cable = _link(_FIRST + two) + _end(f"rank{two}", hardware) + _attribute(18, kind)
    _ask(here, _NEWLINK, _CREATE | _EXCLUSIVE, cable, "a veth cable (kernel module veth)")
    for sock, mine, other in ((here, one, two), (there, two, one)):
        number = _FIRST + other
        # Address generation off: no IPv6 address, hence none of its announcements.
        silent = _attribute(26, _attribute(socket.AF_INET6, _attribute(8, b"\1")))
        _ask(sock, _NEWLINK, 0, _link(number) + silent, "", ignore=errno.EAFNOSUPPORT)
        _keep_order(sock, f"rank{other}")
        _ask(sock, _NEWLINK, 0, _link(number, _UP | _NO_ARP), "a cable's end")
        ends = _attribute(2, socket.inet_aton(_address(mine))) + _attribute(
            1, socket.inet_aton(_address(other))
        )
        _ask(
            sock,
            _NEWADDR,
            _CREATE,
            struct.pack("BBBBi", socket.AF_INET, 32, 0, 0, number) + ends,
            "an address",
        )


def _keep_order(sock: socket.socket, device: str) -> None:
    # A sender that moves to another processor overtakes its own packets, and TCP sends again what it takes for
    # lost. With segmentation off and receive offload on, a cable's end has one queue, which keeps the order
    # (ethtool -K DEVICE tso off gro on). Packets are as large as TCP makes them either way.
    for command, value in ((_SET_TSO, 0), (_SET_GRO, 1)):
        setting = ctypes.create_string_buffer(struct.pack("II", command, value))
        with contextlib.suppress(OSError):  # before Linux 5.13 there is no such queue
            fcntl.ioctl(sock, _ETHTOOL, struct.pack("16sQ8x", device.encode(), ctypes.addressof(setting)))


def _end(name: str, hardware: bytes) -> bytes:
    return (
        _attribute(3, name.encode() + b"\0") + _attribute(1, hardware) + _attribute(4, struct.pack("I", _MTU))
    )


def _link(number: int, flags: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, number, flags, flags)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _ask(sock: socket.socket, kind: int, flags: int, body: bytes, what: str, ignore: int = 0) -> None:
    sock.send(struct.pack("IHHII", 16 + len(body), kind, flags | _REQUEST | _ACK, 1, 0) + body)
    _, answer, _, _, _, code = struct.unpack_from("IHHIIi", sock.recv(8192))
    if answer != _ERROR or code not in (0, -ignore):
        raise NetworkError(f"{what}: {os.strerror(-code)}")
