"""Hands in an empty folder, and one with an empty file.

Must: be told, and stop nobody.
"""

FAMILY = "accident"
STOCK = "nothing to grade"
DESERVES = {}
SAYS = "holds no files"


def make(folder, right):
    folder.mkdir()
