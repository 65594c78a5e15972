"""Hands in the module and forgets the notebooks.

Must: get full credit for the module, and read what is missing.
"""

FAMILY = "accident"
STOCK = "concerns the module"
DESERVES = {"part": 4}
SAYS = "lab.ipynb is missing"


def make(folder, right):
    folder.mkdir()
    (folder / "sums.py").write_text(right["sums.py"])
