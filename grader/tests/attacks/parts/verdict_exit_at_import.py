"""Raises SystemExit(0) while it is imported.

Must: earn nothing.
"""

FAMILY = "verdict"
TARGET = "softmax"

raise SystemExit(0)
