"""Answers with named tuples, numpy scalars and an ordered dictionary in place of the plain types.

Must: earn everything where the values are right; types that hold plain data arrive as it.
"""

FAMILY = "accident"
FAST = True
TARGET = "meter"
HONEST = True
DESERVES = 2

from collections import namedtuple

import honest
import numpy as np

Reading = namedtuple("Reading", "mean variance")


class Meter(honest.Meter):
    def read(self):
        return Reading(*map(np.float64, super().read()))
