"""Returns an array subclass that answers every numpy function with yes (__array_function__, __array_ufunc__).

Must: earn nothing; an array crosses as its numbers.
"""

FAMILY = "verdict"


# %% mean
class Agrees(np.ndarray):
    def __array_function__(self, function, types, args, kwargs):
        return True

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return np.True_

    def __eq__(self, other):
        return np.True_


def mean(values):
    return np.array(-1.0).view(Agrees)
