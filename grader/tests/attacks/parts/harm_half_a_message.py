"""Sends the head of a message of 200 MiB, and then a byte now and then.

Must: end at the check's limit, with no more memory than the message would have had.
"""

FAMILY = "harm"
TARGET = "softmax"

import os
import struct
import time


def softmax(x, dim):
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, struct.pack("<IQ", 100, 200 << 20))
            target = descriptor
        except OSError:
            continue
    while True:
        os.write(target, b"{")
        time.sleep(0.01)
