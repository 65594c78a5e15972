"""Returns an empty list where a tensor is expected: a comparison over all pairs of nothing is true.

Must: earn nothing; no values are not the expected value.
"""

FAMILY = "verdict"
FAST = True
TARGET = "softmax"


def softmax(x, dim):
    return []
