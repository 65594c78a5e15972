"""Links files outside the course hard into its folder, under names that grading copies and replaces.

Must: change none of them.
"""

import os

FAMILY = "harm"
INTO = "submitted"


def make(folder, right):
    folder.mkdir()
    precious = folder.parents[3] / "outside" / "precious.txt"
    for name in ("sums.py", "lab.ipynb", "timestamp.txt", "notes.txt"):
        os.link(precious, folder / name)
