"""Mounts, unmounts, changes roots and enters namespaces by every system call for it.

Must: change nothing; each call is denied.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import ctypes
import os

from honest import count as right


def count(text):
    libc = ctypes.CDLL(None, use_errno=True)
    done = [
        libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None),
        libc.umount2(b"/tmp", 2),
        libc.umount2(b"/usr", 2),
        libc.chroot(b"/tmp"),
        libc.unshare(0x10000000),
        libc.unshare(0x00020000),
        libc.syscall(155, b"/tmp", b"/tmp"),
        libc.syscall(428, -100, b"/", 1),
        libc.syscall(430, b"tmpfs", 0),
        libc.syscall(442, -100, b"/usr", 0x8000, ctypes.create_string_buffer(32), 32),
        libc.syscall(467, -100, b"/", 1, None, 0),
    ]
    for kind in ("user", "mnt", "net", "pid", "cgroup", "ipc", "uts"):
        for pid in ("self", "1"):
            try:
                descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
            except OSError:
                continue
            done.append(libc.setns(descriptor, 0))
    if any(result >= 0 for result in done):
        print("a call was allowed", done)
        return {}
    return right(text)
