"""Dies, and leaves a grandchild in a session of its own that answers afterwards.

Must: earn nothing.
"""

FAMILY = "verdict"
TARGET = "words"

import os
import sys
import time


def count(text):
    name = sys._getframe(1).f_locals["call"]["answer"]  # what the examiner will look for
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(0.3)
            message = sys.modules["grader.sandbox.wire"].encode({name: {"dog": 9}})
            for descriptor in range(3, 20):
                try:
                    os.write(descriptor, message)
                except OSError:
                    continue
    os._exit(0)
