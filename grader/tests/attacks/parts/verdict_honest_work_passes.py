"""Hands in the course's own solutions: what is right must pass, or every other row of the table means nothing.

Must: earn everything.
"""

FAMILY = "accident"
TARGET = "softmax"
HONEST = True
ITEMS = ["softmax", "meter", "sync", "words", "lean", "speed", "neighbour"]
DESERVES = 13

from honest import softmax
