"""Saves its notebook as UTF-16, as an editor or a shell of Windows may.

Must: get full credit.
"""

FAMILY = "accident"
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-16" if name == "lab.ipynb" else "utf-8")
