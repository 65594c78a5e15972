"""Asks for thousands of flushes of a file of the library's, each of which is one of the machine's whole disk.

Must: be told that it is done, with nothing done; what it writes itself lies in memory.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import os

from honest import count as right


def count(text):
    file = os.open(os.__file__, os.O_RDONLY)
    for _ in range(3000):
        os.fsync(file)
        os.fdatasync(file)
    try:
        os.fsync(99)  # no file: the kernel would say so
    except OSError:
        print("the kernel flushes")
        return {}
    return right(text)
