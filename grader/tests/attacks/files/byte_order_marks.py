"""Has a byte order mark before its module and its notebooks, as some editors write.

Must: get full credit.
"""

FAMILY = "accident"
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8-sig")
