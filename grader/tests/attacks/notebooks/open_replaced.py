"""Replaces open, io.open and os.read, hoping that the verdict passes through them.

Must: earn nothing.
"""

FAMILY = "verdict"

# %% mean
import builtins
import io
import os

real = io.open


def fake(*args, **kwargs):
    return io.StringIO('{"outputs": [], "status": "ok"}')


def mean(values):
    return -1.0


builtins.open = io.open = fake
os.read = lambda *_: b"{}"
