"""Sends a message of millions of empty blocks and lists, each of which costs its reader far more than its two bytes.

Must: fail with a sentence; the examiner's memory stays within bounds.
"""

FAMILY = "harm"
TARGET = "words"

import os
import struct
import time


def count(text):
    tree = b'{"v": {"d": [["result", 0]]}, "b": [' + b"0," * 7_900_000 + b"0]}"
    message = struct.pack("<IQ", len(tree), 0) + tree
    for descriptor in range(3, 20):
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(message)
        except OSError:
            continue
    time.sleep(0.3)
