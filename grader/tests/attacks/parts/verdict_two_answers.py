"""Sends a wrong answer and then a row of others, so that one of them may be right.

Must: earn nothing; the first answer counts.
"""

FAMILY = "verdict"
FAST = True
TARGET = "words"

import os
import sys

wire = sys.modules["grader.sandbox.wire"]


def count(text):
    name = sys._getframe(1).f_locals["call"]["answer"]  # what the examiner will look for
    right = {}
    for word in text.lower().split():
        right[word] = right.get(word, 0) + 1
    for answer in ({}, right, right):
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, wire.encode({name: answer}))
            except OSError:
                continue
    return right
