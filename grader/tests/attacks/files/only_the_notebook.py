"""Hands in one notebook and forgets the module.

Must: get full credit for the notebook, and read what is missing.
"""

FAMILY = "accident"
DESERVES = {"lab": 7}
SAYS = "sums.py is missing"


def make(folder, right):
    folder.mkdir()
    (folder / "lab.ipynb").write_text(right["lab.ipynb"])
