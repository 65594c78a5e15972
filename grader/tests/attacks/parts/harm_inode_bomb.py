"""Makes empty files until no more can be made, at most 500,000, in /tmp, /dev/shm and deep folders.

Must: stop at the limit of inodes, which are the worker's own.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import os
import time

from honest import count as right


def count(text):
    end = time.monotonic() + 4
    for folder in ("/tmp", "/dev/shm"):
        try:
            for number in range(250_000):
                os.close(os.open(f"{folder}/{number}", os.O_CREAT))
                if time.monotonic() > end:
                    break
        except OSError:
            continue
    os.chdir("/tmp")
    return right(text)
