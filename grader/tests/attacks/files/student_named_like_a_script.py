"""Calls its folder by a name with tags, quotes and escape sequences, which no student has.

Must: be refused in a sentence that a terminal can show.
"""

FAMILY = "harm"
FAST = True
SAYS = "no student id"
STUDENT = "<img src=x onerror=pwned()>\x1b[31m\u202e'\" --force"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
