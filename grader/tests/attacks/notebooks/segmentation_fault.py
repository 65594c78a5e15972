"""Reads address 0.

Must: lose its own points, with a sentence that says that the process died.
"""

FAMILY = "harm"

# %% count
import ctypes

ctypes.string_at(0)
