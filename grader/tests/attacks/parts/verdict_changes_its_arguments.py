"""Changes its arguments in place, so that a reference computed later from the same memory would agree.

Must: earn nothing; the examiner's inputs lie in the examiner.
"""

FAMILY = "verdict"
FAST = True
TARGET = "softmax"


def softmax(x, dim):
    x.zero_()
    x.add_(1.0 / x.shape[dim])
    return x
