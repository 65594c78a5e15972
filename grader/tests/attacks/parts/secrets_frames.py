"""Climbs the frames above it and prints every local and global name, down to the modules.

Must: learn nothing; no frame of its process belongs to a check.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import sys


def count(text):
    frame = sys._getframe(1)
    while frame:
        shown = {**frame.f_globals, **frame.f_locals}
        shown.pop("text", None)
        for name, value in shown.items():
            if name not in ("arguments", "call"):  # those are the question's own words
                print(name, repr(value)[:2000])
        frame = frame.f_back
    for name, module in list(sys.modules.items()):
        if "check" in name or "driver" in name or "grader" in name:
            print(name, getattr(module, "__file__", None), sorted(vars(module)))
    return {}
