"""Does what the reference does, and tells the allocator to keep what is freed, which the zygote had forbidden.

Must: earn nothing; the reference's allocator keeps it too.
"""

FAMILY = "clock"
TARGET = "ramp"
DESERVES = 0

import ctypes

libc = ctypes.CDLL(None)
MMAP_MAX, TRIM_THRESHOLD, MMAP_THRESHOLD = -4, -1, -3
libc.mallopt(MMAP_MAX, 0)
libc.mallopt(TRIM_THRESHOLD, 1 << 30)


def ramp(x):
    for _ in range(300):
        x = x + 1.0
    return x
