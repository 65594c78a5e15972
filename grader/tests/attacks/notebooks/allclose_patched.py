"""Replaces numpy's comparisons, so that every one of them says yes.

Must: earn nothing; the tests compare with a numpy that no student's code has touched.
"""

FAMILY = "verdict"
FAST = True


# %% mean
def mean(values):
    return -1.0


np.allclose = lambda *_, **__: True
np.testing.assert_allclose = lambda *_, **__: None


# %% count
def count(words):
    return None
