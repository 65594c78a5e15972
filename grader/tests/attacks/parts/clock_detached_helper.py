"""Hands the work to a daemon in a session of its own, so that neither it nor its children use processor time.

Must: earn no point for speed; the control group holds the daemon too.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import multiprocessing
import os

import torch


def naive(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
    return total


here, there = multiprocessing.Pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    while True:
        x, k = there.recv()
        there.send(naive(x, k))


def moving(x, k):
    here.send((x, k))
    return here.recv()
