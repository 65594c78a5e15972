"""Takes memory in 60 processes, each too little to be noticed alone, 6 GiB together.

Must: be stopped; memory is counted for the job.
"""

FAMILY = "harm"
TARGET = "words"

import os
import time


def count(text):
    for _ in range(60):
        if os.fork() == 0:
            hoard = bytearray(b"x") * (100 << 20)
            time.sleep(20)
            os._exit(len(hoard) & 1)
    time.sleep(20)
