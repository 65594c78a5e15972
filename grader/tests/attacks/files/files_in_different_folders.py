"""Hands in a folder per part: the module in one, the notebooks in another.

Must: get full credit; a file that is there once is the one that is meant.
"""

FAMILY = "accident"
STOCK = "another layout is for the collector"
FAST = True
DESERVES = {"lab": 7, "part": 4}
SAYS = "sums.py was taken from"


def make(folder, right):
    for place, names in (("notebooks", ("lab.ipynb", "part1.ipynb")), ("code/mine", ("sums.py",))):
        (folder / place).mkdir(parents=True)
        for name in names:
            (folder / place / name).write_text(right[name])
