"""Reads an integer beyond all floats as mean and variance.

Must: fail with a sentence, not break the check.
"""

FAMILY = "harm"
TARGET = "meter"


class Meter:
    def update(self, values):
        pass

    def read(self):
        return 10**2000, -(10**2000)
