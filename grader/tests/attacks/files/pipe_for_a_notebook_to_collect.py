"""Puts a fifo and a folder in place of its notebook and module, and hands in the folder.

Must: keep nobody waiting.
"""

import os

FAMILY = "harm"
SAYS = "missing"


def make(folder, right):
    (folder / "sums.py").mkdir(parents=True)
    (folder / "sums.py" / "inside.py").write_text("x = 1")
    os.mkfifo(folder / "lab.ipynb")
    (folder / "notes.txt").write_text("the only honest file")
