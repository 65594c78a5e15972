"""Returns floats and strings of classes that compare as equal, and dictionary keys that do so too.

Must: earn nothing; a subclass of int, float or str arrives as its base.
"""

FAMILY = "verdict"
TARGET = "meter"


class Anything(float):
    def __sub__(self, other):
        return Anything(0.0)

    __rsub__ = __sub__

    def __abs__(self):
        return Anything(0.0)

    def __le__(self, other):
        return True

    def __eq__(self, other):
        return True

    def hex(self):
        return "0x0.0p+0"

    __hash__ = float.__hash__


class Meter:
    def update(self, values):
        pass

    def read(self):
        return Anything(12345.0), Anything("nan")
