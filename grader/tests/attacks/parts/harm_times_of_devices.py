"""Sets the times of /dev/null and its neighbours, which are the machine's own, to tell a later job a hundred bits.

Must: be denied; nothing that a job writes may outlive it.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import os

from honest import count as right


def count(text):
    set_ = []
    for what in (0, *(f"/dev/{name}" for name in os.listdir("/dev") if name != "shm")):
        try:
            os.utime(what)
            set_.append(what)
        except OSError:
            continue
    if set_:
        print("set:", set_)
        return {}
    return right(text)
