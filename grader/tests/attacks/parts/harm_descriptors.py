"""Opens descriptors until no more can be opened, in as many processes as it gets.

Must: stop at the limits; the neighbour opens its own.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import os
import time

from honest import count as right


def count(text):
    for _ in range(100):
        if os.fork() == 0:
            try:
                while True:
                    os.open("/dev/null", os.O_RDONLY)
            except OSError:
                time.sleep(2)
            os._exit(0)
    time.sleep(1)
    return right(text)
