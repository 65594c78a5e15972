"""Returns at once an object that would compute only when it is looked at: a generator, a property, a __array__.

Must: earn nothing; what is not plain data is refused, and nothing of it runs in the examiner.
"""

FAMILY = "verdict"
FAST = True
TARGET = "softmax"


class Later:
    shape, dtype = (5, 300), "float32"

    def __init__(self, x):
        self.x = x

    def __array__(self, *args, **kwargs):
        return self.x.softmax(1).numpy()

    def __iter__(self):
        return iter(self.x.softmax(1))


def softmax(x, dim):
    return Later(x)
