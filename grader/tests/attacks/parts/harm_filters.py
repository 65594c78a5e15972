"""Attaches filters to sockets and to itself, whose compiled code all of a machine's processes share a store for.

Must: be denied every one; where the store is full, no worker can be given its own filter, and nobody is graded.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import ctypes
import errno
import platform
import socket
import struct

from honest import count as right

LENGTH = 4096
MOD, RETURN = struct.pack("<HBBI", 0x94, 0, 0, 0x1234567), struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)


def count(text):
    code = ctypes.create_string_buffer(MOD * (LENGTH - 1) + RETURN, 8 * LENGTH)
    filters = struct.pack("HxxxxxxQ", LENGTH, ctypes.addressof(code))
    attached = []
    for family, kind in ((socket.AF_UNIX, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_DGRAM)):
        with socket.socket(family, kind) as one:
            for option in (26, 51):  # of the socket, and of all that share its port
                try:
                    one.setsockopt(socket.SOL_SOCKET, option, filters)
                    attached.append(f"{family.name} {option}")
                except OSError as error:
                    if error.errno != errno.EPERM:
                        attached.append(f"{family.name} {option}: {error}")
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 317, "aarch64": 277}[platform.machine()]
    if libc.prctl(22, 2, filters, 0, 0) == 0 or libc.syscall(number, 1, 0, filters) == 0:
        attached.append("system calls")
    if attached:
        print("attached:", attached)
        return {}
    return right(text)
