"""Hands in `lab (1).ipynb` and `Sums.py`, as browsers and hands rename them.

Must: read which file is missing and what it is called now.
"""

FAMILY = "accident"
FAST = True
DESERVES = {}
SAYS = "is it lab (1).ipynb?"


def make(folder, right):
    folder.mkdir()
    (folder / "lab (1).ipynb").write_text(right["lab.ipynb"])
    (folder / "Sums.py").write_text(right["sums.py"])
    (folder / "part1.ipynb").write_text(right["part1.ipynb"])
