"""Announces messages of negative, empty and gigantic length.

Must: fail with a sentence.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"

import os
import time

turn = time.time_ns() % 3


def count(text):
    head = (b"\xff" * 12, b"\0" * 12, b"\1\0\0\0" + b"\xff" * 8)[turn]
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, head)
        except OSError:
            continue
    time.sleep(0.3)
