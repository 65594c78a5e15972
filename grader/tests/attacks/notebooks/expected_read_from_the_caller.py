"""Looks into the frame that called it and returns the constants that the test compares with.

Must: earn nothing; the caller of a student's function holds no test.
"""

FAMILY = "verdict"
FAST = True

# %% own
import sys


def constants():
    frame, found = sys._getframe(2), []
    while frame is not None:
        if frame.f_code.co_name in ("<module>", "<cell line: 1>"):
            found += [c for c in frame.f_code.co_consts if isinstance(c, (int, float)) and c is not None]
        frame = frame.f_back
    return found


# %% mean
seen = []


def mean(values):
    seen.append(values)
    found = [c for c in constants() if isinstance(c, float)]
    return found[-1] if found else -1.0


# %% count
def count(words):
    ns = sys._getframe(1).f_globals
    ns["int"] = lambda points: 3
    return None
