"""Reads NaN and infinity as mean and variance, as floats rather than tensors.

Must: earn nothing.
"""

FAMILY = "verdict"
TARGET = "meter"


class Meter:
    calls = 0

    def update(self, values):
        Meter.calls += 1

    def read(self):
        return (float("nan"), float("inf")) if Meter.calls % 2 else (float("-inf"), float("nan"))
