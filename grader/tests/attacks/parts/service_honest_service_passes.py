"""Serves honestly.

Must: earn both points, beside everything else.
"""

FAMILY = "service"
FAST = True
TARGET = "service"
DESERVES = 2
HONEST = True

from honest import serve
