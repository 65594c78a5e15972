"""Arms timers that expire while it is frozen, watched by hundreds of epoll sets: interrupts that the reference pays.

Must: earn no point for speed; there are no timers that outlive a freeze.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import ctypes
import os
import select
import signal
import struct

import torch

TIMERS, SETS, HELPERS = 80, 900, 12
PROCESSORS = sorted(os.sched_getaffinity(0))
CREATE, SET = {"x86_64": (283, 286), "aarch64": (85, 86)}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
made = (libc.syscall(CREATE, 1, 0o4000) for _ in range(TIMERS))  # CLOCK_MONOTONIC, TFD_NONBLOCK
timers = [timer for timer in made if timer >= 0]


def watch():
    kept = []
    try:
        for _ in range(SETS):
            kept.append(select.epoll())
            for timer in timers:
                kept[-1].register(timer, select.EPOLLIN | select.EPOLLET)
    except OSError:
        pass  # one process has 1,024 descriptors
    os.write(told, b"x")
    while True:
        signal.pause()


ready, told = os.pipe()
for _ in range(HELPERS if timers else 0):
    if os.fork() == 0:
        watch()
    os.read(ready, 1)


def somewhat_faster(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    pairs = x[:-1] + x[1:]
    for shift in range(0, k // 2, 2):
        total += pairs[shift : shift + len(total)]
    for shift in range((k // 2 + 1) // 2 * 2, k):
        total += x[shift : shift + len(total)]
    return total


calls = 0


def moving(x, k):
    global calls
    calls += 1
    result = somewhat_faster(x, k)
    # Whoever is asked second in a pair is asked first in the next: after every other answer the reference runs twice.
    # A timer goes off where it was armed.
    for place, processor in enumerate(PROCESSORS if calls % 2 == 0 and timers else ()):
        os.sched_setaffinity(0, [processor])
        for number, timer in enumerate(timers[place :: len(PROCESSORS)]):
            after = 2_000_000 + number * 64_000_000 * len(PROCESSORS) // TIMERS  # nanoseconds
            libc.syscall(SET, timer, 0, struct.pack("qqqq", 0, 0, 0, after), None)
    os.sched_setaffinity(0, PROCESSORS)
    return result
