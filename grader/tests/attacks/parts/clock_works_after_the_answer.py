"""Answers, and goes on working for the next question while it is not asked: tables, guesses, warm caches.

Must: earn no point for speed; a worker stands still between its questions, and what it used counts.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import threading

import torch


def naive(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
    return total


tables = {}


def prepare():
    while True:
        for size in range(90_000, 110_000, 100):
            tables[size] = torch.arange(size, dtype=torch.float64).cumsum(0)


threading.Thread(target=prepare, daemon=True).start()


def moving(x, k):
    return naive(x, k)
