"""Patches the driver in its process, so that its replies are lists of true, nested far, or of the wrong length.

Must: earn nothing, and every reply gets a sentence rather than a broken check.
"""

FAMILY = "verdict"
TARGET = "meter"

import sys


class Meter:
    def update(self, values):
        sys.modules["driver"].stream = None

    def read(self):
        return [[True] * 2, [True]]
