"""What Python leaves open about sockets: bytes sent over TCP, as the kernel counts them (`TCP_INFO`), and places
for sockets that have a path."""

import contextlib
import os
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator

_BYTES_SENT = (
    200  # offset of tcpi_bytes_sent in struct tcp_info, since Linux 4.19; tcpi_bytes_retrans follows
)

LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of a Unix socket's path, see unix(7)."""
_SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")


def socket_folder(prefix: str, room: int) -> str:
    """Make a private folder in which a socket may have a path of `room` more bytes; return its path.

    It lies where temporary files lie, or where that is too deep in one of the usual places. Raises OSError, which
    names TMPDIR, where none of them is short enough and can be written.
    """
    needed = room + len(os.fsencode(prefix)) + 10  # mkdtemp adds eight letters; two slashes
    wanted = tempfile.gettempdir()
    for place in (wanted, *_SHORT_PLACES):
        if len(os.fsencode(place)) + needed <= LONGEST_PATH:
            with contextlib.suppress(OSError):
                return tempfile.mkdtemp(prefix=prefix, dir=place)
    raise OSError(
        f"TMPDIR is {wanted!r}: no folder for a socket, whose path may have {LONGEST_PATH} bytes, "
        f"can be made there, nor in {', '.join(_SHORT_PLACES)}; set TMPDIR to a shorter path"
    )


def connections() -> Iterator[socket.socket]:
    """A second handle of each TCP socket that this process has open now, one at a time; closed after its turn."""
    for name in os.listdir("/proc/self/fd"):
        try:
            is_socket = stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode)
        except FileNotFoundError:  # the descriptor by which we list
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(int(name))) as copy:
                if copy.type == socket.SOCK_STREAM and copy.family != socket.AF_UNIX:
                    yield copy


def socket_bytes() -> int:
    """Payload bytes that this process has sent through TCP sockets that are open now.

    Raises OSError on a kernel that does not count them.
    """
    total = 0
    for connection in connections():
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        if len(info) < _BYTES_SENT + 16:
            raise OSError("this kernel's sockets do not count their bytes: Linux 4.19 or newer does")
        sent, again = struct.unpack_from("=2Q", info, _BYTES_SENT)
        # On a busy machine TCP repeats a segment whose acknowledgement is late.
        total += sent - again
    return total
