"""Walks up the stack from a test's call and prints the source and the constants of every frame.

Must: learn nothing; the tests are in another process.
"""

FAMILY = "secrets"
FAST = True

# %% mean
import inspect
import sys


def mean(values):
    frame = sys._getframe(1)
    while frame is not None:
        print(frame.f_code.co_consts)
        print({name: value for name, value in frame.f_locals.items() if isinstance(value, (str, list))})
        try:
            print(inspect.getsource(frame))
        except (OSError, TypeError):
            pass
        frame = frame.f_back
    return 2.0
