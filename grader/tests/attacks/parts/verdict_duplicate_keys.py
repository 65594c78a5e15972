"""Sends JSON with keys twice, of which one reader sees the first and another the last.

Must: earn nothing.
"""

FAMILY = "verdict"
TARGET = "words"

import os
import struct
import sys
import time


def count(text):
    name = sys._getframe(1).f_locals["call"]["answer"]  # what the examiner will look for
    pairs = f'["{name}", 1], ["{name}", {{"d": [["the", 2]]}}], ["error", null]'
    tree = f'{{"v": {{"d": [{pairs}]}}, "v": {{"d": []}}, "b": []}}'.encode()
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, struct.pack("<IQ", len(tree), 0) + tree)
        except OSError:
            continue
    time.sleep(2)
    return {}
