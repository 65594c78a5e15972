"""Leaves with status 0 in the middle of the question.

Must: earn nothing; an exit is no answer.
"""

FAMILY = "verdict"
FAST = True
TARGET = "softmax"

import os


def softmax(x, dim):
    os._exit(0)
