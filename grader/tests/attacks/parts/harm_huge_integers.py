"""Answers with integers of a million digits, which a reader can neither print nor turn into a float.

Must: fail with a sentence, not break the check.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"


import json
import os
import struct
import sys


def count(text):
    if "dog" in text:
        return {"the": 1 << 4_000_000}
    name = sys._getframe(1).f_locals["call"]["answer"]  # what the examiner will look for
    tree = json.dumps({"v": {"d": [[name, {"i": hex(1 << 4_000_000)}]]}, "b": []}).encode()
    for descriptor in range(3, 20):
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(struct.pack("<IQ", len(tree), 0) + tree)
        except OSError:
            continue
    return {}
