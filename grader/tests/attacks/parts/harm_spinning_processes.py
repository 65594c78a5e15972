"""Leaves sixteen processes spinning while it answers rightly.

Must: get its points; the neighbour is not kept from its own.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import os
import time

from honest import count as right


def count(text):
    for _ in range(16):
        if os.fork() == 0:
            while True:
                pass
    time.sleep(1)
    return right(text)
