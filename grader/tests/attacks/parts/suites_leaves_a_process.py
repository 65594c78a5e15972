"""Leaves a process behind that is to tell the next run what came before.

Must: earn nothing: it dies with the run, and no run sees another's.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import os
import socket
import time


def test_what_the_last_one_says():
    name = "\0suites-notes"
    asked = socket.socket(socket.AF_UNIX)
    try:
        asked.connect(name)
        seen = True
    except OSError:
        seen = False
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            kept = socket.socket(socket.AF_UNIX)
            kept.bind(name)
            kept.listen()
            time.sleep(60)
        os._exit(0)
    time.sleep(0.05)
    assert not seen
