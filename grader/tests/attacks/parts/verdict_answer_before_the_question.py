"""Sends "ready" and an answer while it is imported, before the question: a known answer needs no work.

Must: earn nothing; an answer that came before its question fails, even where it is right.
"""

FAMILY = "verdict"
FAST = True
TARGET = "words"

import os
import sys

wire = sys.modules["grader.sandbox.wire"]
guess = {"the": 2, "cat": 1, "dog": 1}  # the public check's text never changes
for descriptor in range(3, 20):
    try:
        os.write(descriptor, wire.encode({"ready": True}) + wire.encode({"result": guess}))
    except OSError:
        continue


def count(text):
    import time

    time.sleep(30)
