"""Sends half a frame, then dies, from a child that holds the channel open.

Must: earn nothing; the tests do not wait for the rest beyond their limit.
"""

FAMILY = "harm"

# %% mean
import os
import stat


def mean(values):
    if os.fork():
        for descriptor in range(3, 32):
            try:
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.write(descriptor, b"\x10\x00\x00\x00\x00\x00\x00\x00{")
            except OSError:
                continue
        os._exit(0)
    import time

    time.sleep(30)
    os._exit(0)
