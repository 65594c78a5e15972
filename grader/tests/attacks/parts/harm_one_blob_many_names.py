"""Sends one block of 1 MiB and names it 20,000 times, which decodes to 20 GiB.

Must: fail with a sentence; the examiner's memory must not grow with the number of names.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"

import json
import os
import struct
import sys
import time

SIZE, NAMES = 1 << 20, 6_000


def count(text):
    name = sys._getframe(1).f_locals["call"]["answer"]  # what the examiner will look for
    # Bounded at 6 GiB, so that a machine without this defence survives the test.
    tree = json.dumps({"v": {"d": [[name, [{"y": 0}] * NAMES]]}, "b": [SIZE]}).encode()
    message = struct.pack("<IQ", len(tree), SIZE) + tree + bytes(SIZE)
    for descriptor in range(3, 20):
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(message)
        except OSError:
            continue
    time.sleep(0.3)
