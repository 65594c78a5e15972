"""Blocks signals and queues them to itself: those that wait are counted per user.

Must: leave the neighbour free to queue its own.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import ctypes
import os
import signal
import time

from honest import count as right


def count(text):
    libc = ctypes.CDLL(None)
    number = signal.SIGRTMIN + 3
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            for _ in range(200_000):
                if libc.sigqueue(os.getpid(), number, None):
                    break
            time.sleep(2)
            os._exit(0)
        children.append(child)
    time.sleep(1.5)
    return right(text)
