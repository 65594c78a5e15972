"""Replaces the display hook, so that the value of a test cell is shown as full points.

Must: earn nothing; the value of a test cell is shown where no student's code runs.
"""

FAMILY = "verdict"
FAST = True


# %% count
def count(words):
    return None


class Full(int):
    def __repr__(self):
        return "3"


hook = type(get_ipython().displayhook)
original = hook.__call__
hook.__call__ = lambda self, result=None: original(self, Full(3) if type(result) is int else result)
