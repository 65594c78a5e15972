"""Makes system calls that are younger than the grader: cachestat, listmount, and whatever comes after them.

Must: find that there are none, whatever this kernel has.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import ctypes
import errno

from honest import count as right


def count(text):
    libc = ctypes.CDLL(None, use_errno=True)
    there = []
    for number in range(451, 700):
        ctypes.set_errno(0)
        libc.syscall(number, 0, 0, 0, 0, 0, 0)
        if ctypes.get_errno() != errno.ENOSYS:
            there.append(number)
    if there:
        print("there are:", there)
        return {}
    return right(text)
