"""Is put into the course by another tool under a name with tags.

Must: run nothing in a browser.
"""

FAMILY = "harm"
FEEDBACK = True
INTO = "submitted"
STUDENT = "<img src=x onerror=pwned()>"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir(parents=True)
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
