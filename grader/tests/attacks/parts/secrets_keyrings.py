"""Looks through session and user keyrings for what another worker of the same user left.

Must: learn nothing; keyrings are denied.
"""

FAMILY = "secrets"
TARGET = "words"
HONEST = True
DESERVES = 2

import ctypes
import platform

from honest import count as right


def count(text):
    libc = ctypes.CDLL(None, use_errno=True)
    keyctl = {"x86_64": 250, "aarch64": 219}[platform.machine()]
    for keyring in (-1, -2, -3, -4, -5):
        buffer = ctypes.create_string_buffer(4096)
        if libc.syscall(keyctl, 11, keyring, buffer, 4096) >= 0:
            print("a keyring", buffer.raw)
            return {}
    return right(text)
