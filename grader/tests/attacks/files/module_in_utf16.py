"""Saves its module as UTF-16, which Python does not import.

Must: get full credit for the notebook, and read why the module could not be imported.
"""

FAMILY = "accident"
FAST = True
STOCK = "concerns the module"
DESERVES = {"lab": 7}
SAYS = "null bytes"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-16" if name == "sums.py" else "utf-8")
