"""Prints 2 GiB to both streams.

Must: be stopped; the examiner keeps one MiB of each.
"""

FAMILY = "harm"
TARGET = "words"

import os


def count(text):
    block = b"x" * (1 << 20)
    for _ in range(1024):
        os.write(1, block)
        os.write(2, block)
    return {}
