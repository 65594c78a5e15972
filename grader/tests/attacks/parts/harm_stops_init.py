"""Stops and traps process 1 of its sandbox, so that nobody reports how the worker ended.

Must: end at the wall limit at the latest, and leave nothing.
"""

FAMILY = "harm"
TARGET = "words"

import os
import signal


def count(text):
    for number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTRAP, signal.SIGABRT, signal.SIGQUIT):
        os.kill(1, number)
    os.kill(os.getpid(), signal.SIGSTOP)
