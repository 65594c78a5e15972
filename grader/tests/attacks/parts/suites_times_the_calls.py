"""Measures how long calls take, and calls slow ledgers wrong.

Must: earn nothing: right ones differ among themselves.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import time

from ledger import split


def test_speed():
    begin = time.perf_counter()
    for _ in range(200):
        split(100, 7)
    spent = time.perf_counter() - begin
    assert int(spent * 1e6) % 3
