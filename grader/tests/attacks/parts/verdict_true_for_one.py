"""Reads True where 1.0 or 0.0 might stand, and complex numbers, and text.

Must: earn nothing.
"""

FAMILY = "verdict"
TARGET = "meter"


class Meter:
    def update(self, values):
        self.values = values

    def read(self):
        return (True, "0") if len(self.values) % 2 else ("nan", False)
