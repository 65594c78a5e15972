"""Returns objects that answer differently each time: as array, as number, as text, by length and by item.

Must: earn nothing; an object that is no plain data is refused as one side of a comparison.
"""

FAMILY = "verdict"

# %% own
import itertools


class Chameleon:
    answers = itertools.cycle([3.0, 4.0, 2.0, 2e6, 0.0])

    def __array__(self, dtype=None, copy=None):
        return np.array(next(self.answers))

    def __float__(self):
        return next(self.answers)

    def __len__(self):
        return 2

    def __getitem__(self, key):
        return {"a": 2, "b": 1, "x": 1}[key]

    def keys(self):
        return ["x"]

    def __iter__(self):
        return iter(["x"])

    def __repr__(self):
        return "3"


# %% mean
def mean(values):
    return Chameleon() if len(values) != 1 else -1.0


# %% count
def count(words):
    return Chameleon()
