"""Answers with as many empty lists as a message may hold, each of which its reader pays with a hundred bytes.

Must: earn nothing; the examiner must not take memory for values that it will not look at.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
DESERVES = 0
GROWS = 256  # MiB that the examiner may grow by

import json
import os
import struct


def count(text):
    tree = b'{"v":[' + b"[]," * ((16 << 20) // 3 - 20) + b'1],"b":[]}'
    frame = struct.pack("<IQ", len(tree), 0) + tree
    for descriptor in range(3, 64):
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                while frame:
                    frame = frame[os.write(descriptor, frame) :]
        except OSError:
            continue
    return {}
