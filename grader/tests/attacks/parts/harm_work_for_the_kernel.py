"""Asks for work that the kernel does later on nobody's account: by timers, disks, pressure, in huge pages.

Must: be denied every kind of it.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import ctypes
import errno
import mmap
import platform

from honest import count as right

CALLS = {  # x86_64, aarch64; with arguments that each of them takes
    "timerfd_create": ((283, 85), (1, 0)),
    "timer_create": ((222, 107), (1, None, ctypes.create_string_buffer(8))),
    "signalfd4": ((289, 74), (-1, ctypes.create_string_buffer(8), 8, 0)),
    "io_setup": ((206, 0), (1, ctypes.create_string_buffer(8))),
    "syncfs": ((306, 267), (1,)),
}


def count(text):
    libc = ctypes.CDLL(None, use_errno=True)
    column = ("x86_64", "aarch64").index(platform.machine())
    allowed = []
    for name, (numbers, arguments) in CALLS.items():
        ctypes.set_errno(0)
        if libc.syscall(numbers[column], *arguments) >= 0 or ctypes.get_errno() != errno.EPERM:
            allowed.append(name)
    for name in ("cpu", "memory", "io"):
        try:
            with open(f"/proc/pressure/{name}", "r+b", buffering=0) as file:
                file.write(b"some 150000 2000000" + bytes(1))
                allowed.append(f"pressure {name}")
        except OSError:
            continue
    try:
        mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
        allowed.append("huge pages")
    except OSError as error:
        if error.errno != errno.EPERM:
            allowed.append(f"huge pages: {error}")
    if allowed:
        print("allowed:", allowed)
        return {}
    return right(text)
