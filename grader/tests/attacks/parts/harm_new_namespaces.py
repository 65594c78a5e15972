"""Asks for namespaces by clone, clone3 and their 32-bit and x32 numbers.

Must: change nothing; each call is denied.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import ctypes
import os
import platform
import struct

from honest import count as right


def count(text):
    libc = ctypes.CDLL(None, use_errno=True)
    clone, clone3 = {"x86_64": (56, 435), "aarch64": (220, 435)}[platform.machine()]
    for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x02000000, 0x08000000, 0x80):
        arguments = ctypes.create_string_buffer(struct.pack("11Q", flag, *[0] * 3, 17, *[0] * 6))
        for result in (
            libc.syscall(clone, flag | 17, 0, 0, 0, 0),
            libc.syscall(clone3, arguments, 88),
            libc.syscall(0x40000000 | clone, flag | 17, 0, 0, 0, 0),
        ):
            if result == 0:
                os._exit(0)
            if result > 0:
                return {"a new namespace": result}
    return right(text)
