"""Detaches a daemon in a session of its own with every signal ignored, and answers rightly.

Must: get its points; the daemon ends with the job.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import os
import signal
import time

from honest import count as right


def count(text):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in set(range(1, 65)) - {9, 19, 32, 33}:
                signal.signal(number, signal.SIG_IGN)
            for descriptor in range(64):
                try:
                    os.close(descriptor)
                except OSError:
                    continue
            time.sleep(100)
        os._exit(0)
    os.wait()
    return right(text)
