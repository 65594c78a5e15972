"""Fills its notebook with NaN, infinities, integers of 4,000 digits and of 10,000, and keys that stand twice.

Must: trip nothing; its right answers count where the JSON can be read.
"""

FAMILY = "harm"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    (folder / "sums.py").write_text(right["sums.py"])
    odd = f'"nan": NaN, "many": {"9" * 4000}, "much": 1e999, "nbformat": 3, "nbformat": 4, "metadata": -Infinity, '
    (folder / "lab.ipynb").write_text("{" + odd + right["lab.ipynb"].lstrip()[1:])
    (folder / "part1.ipynb").write_text('{"nbformat": ' + "9" * 10_000 + "}")
