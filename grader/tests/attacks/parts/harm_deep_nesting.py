"""Sends lists nested a hundred thousand deep, which overflow a reader's stack.

Must: fail with a sentence.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"

import os
import struct
import time


def count(text):
    depth = 100_000
    tree = b'{"b": [], "v": ' + b"[" * depth + b"]" * depth + b"}"
    for descriptor in range(3, 20):
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(struct.pack("<IQ", len(tree), 0) + tree)
        except OSError:
            continue
    time.sleep(0.3)
