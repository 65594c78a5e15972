"""Stops reading after the head of its order, so that whoever sends it inputs waits.

Must: end at the check's limit.
"""

FAMILY = "harm"
TARGET = "softmax"

import os
import time

if os.fork():
    time.sleep(100)


def softmax(x, dim):
    time.sleep(100)
