"""Sends tensors without elements whose other dimensions multiply beyond any integer.

Must: fail with a sentence, not break the check.
"""

FAMILY = "harm"
TARGET = "softmax"

import json
import os
import struct
import sys
import time


def softmax(x, dim):
    name = sys._getframe(1).f_locals["call"]["answer"]  # what the examiner will look for
    shapes = [[0] + [1 << 39] * 30, [1 << 39, 1 << 39, 0], [0] * 33, [True, -1], [2**70, 0]]
    shape = shapes[x.dim() % 2]
    tensor = {"T": 0, "dtype": "float32", "shape": shape}
    tree = json.dumps({"v": {"d": [[name, tensor]]}, "b": [0]}).encode()
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, struct.pack("<IQ", len(tree), 0) + tree)
        except OSError:
            continue
    time.sleep(1)
