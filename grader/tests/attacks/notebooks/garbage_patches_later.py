"""Patches the comparisons from __del__ and from a callback of the garbage collector.

Must: earn nothing.
"""

FAMILY = "verdict"

# %% mean
import gc


def patch(*_):
    np.allclose = lambda *_, **__: True
    np.testing.assert_allclose = lambda *_, **__: None


class Bomb:
    def __del__(self):
        patch()


def mean(values):
    Bomb()
    gc.collect()
    return -1.0


gc.callbacks.append(patch)
