"""Leaves a timestamp.txt of binary nonsense in the course, past collecting.

Must: not trip the grader; a date that cannot be read counts as none, and a note says so.
"""

FAMILY = "harm"
FAST = True
INTO = "submitted"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "timestamp.txt").write_bytes(b"\xff\xfe99999999999999999-99-99 \x00\x1b[2J" * 1000)
