"""Leaves, and sends a made-up answer from atexit, when whoever checks for an answer has been told of the exit.

Must: earn nothing; the made-up answer is compared like any other.
"""

FAMILY = "verdict"
TARGET = "words"

import atexit
import os
import sys


def answer():
    wire = sys.modules["grader.sandbox.wire"]
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, wire.encode({names[0]: {"the": 1}}))
        except OSError:
            continue


atexit.register(answer)


names = []


def count(text):
    names.append(sys._getframe(1).f_locals["call"]["answer"])
    raise SystemExit(0)
