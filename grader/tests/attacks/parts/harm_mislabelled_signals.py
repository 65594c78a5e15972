"""Asks for signals at descriptors that others share, and makes the streams of output non-blocking and someone else's.

Must: get its points; the examiner's ends of the streams are not the worker's.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import fcntl
import os
import signal

from honest import count as right
from places import EXAMINER


def count(text):
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    for descriptor in (1, 2):
        for target in (EXAMINER, -EXAMINER, 1, os.getpid()):
            try:
                fcntl.fcntl(descriptor, fcntl.F_SETOWN, target)
                fcntl.fcntl(descriptor, 10, signal.SIGKILL)  # F_SETSIG
                fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
            except OSError:
                continue
    return right(text)
