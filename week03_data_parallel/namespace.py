"""Run Python in a network namespace of its own: `python -m week03_data_parallel.namespace -m MODULE ARGUMENTS`.

It imports the standard library only, because a process that has threads (numpy starts some) may not change its user
namespace.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # <linux/sched.h>
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8913, 0x8914, 0x41  # <linux/sockios.h>, <linux/if.h>


def enter() -> None:
    """Move this process into a new network namespace with a working loopback.

    Raises OSError where the system forbids it (user namespaces switched off, a container without the right).
    """
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNET):
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
            error = ctypes.get_errno()
            raise OSError(error, f"the system refuses a network namespace ({os.strerror(error)})")
        # Without a map the process has no user and could not create a file.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        found = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", found)[1] | IFF_UP_RUNNING
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))
    # No tail loss probes: on a busy machine TCP would send segments twice, and they would be counted twice.
    with contextlib.suppress(OSError):
        Path("/proc/sys/net/ipv4/tcp_early_retrans").write_text("0")


if __name__ == "__main__":
    enter()
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
