"""Answers rightly and leaves a dozen processes printing: whoever reads all output first never ends.

Must: get its points; the examiner takes what came before the answer and goes on.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import os

from honest import count as right


def count(text):
    for _ in range(12):
        if os.fork() == 0:
            block = b"x" * 65536
            while True:
                os.write(1, block)
    return right(text)
