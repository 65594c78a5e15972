"""Does honest work that is fast, in the plainest way.

Must: earn everything; or no row above means anything.
"""

FAMILY = "accident"
FAST = True
TARGET = "speed"
HONEST = True
DESERVES = 2

from honest import moving
