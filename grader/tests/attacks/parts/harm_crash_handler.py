"""Crashes with a limit on core files at which the kernel would start the machine's own crash handler, as root.

Must: start nothing; the limit that prevents it cannot be changed.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import ctypes
import os
import resource
import signal

from honest import count as right


def count(text):
    libc = ctypes.CDLL(None, use_errno=True)
    for limit in ((0, 0), (0, 1)):
        try:
            resource.setrlimit(resource.RLIMIT_CORE, limit)
            return {"changed": 1}
        except (OSError, ValueError):
            continue
    if libc.setrlimit(resource.RLIMIT_CORE, (ctypes.c_ulong * 2)(0, 0)) == 0:
        return {"changed": 2}
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    os.waitpid(child, 0)
    return right(text)
