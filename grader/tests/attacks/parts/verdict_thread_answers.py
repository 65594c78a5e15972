"""Lets threads race to answer while the main thread raises.

Must: earn nothing; whatever comes first is compared or is no message.
"""

FAMILY = "verdict"
TARGET = "words"

import os
import sys
import threading

wire = sys.modules["grader.sandbox.wire"]


def answer(name, number):
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, wire.encode({name: {"the": number}}))
        except OSError:
            continue


def count(text):
    name = sys._getframe(1).f_locals["call"]["answer"]  # what the examiner will look for
    for number in range(8):
        threading.Thread(target=answer, args=(name, number)).start()
    raise ValueError("never mind")
