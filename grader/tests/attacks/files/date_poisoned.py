"""Writes a date of its own choice, of the far past and of no calendar, into timestamp.txt.

Must: neither trip the grader nor move the date; what was collected when is written by the collector.
"""

FAMILY = "verdict"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "timestamp.txt").write_text("0001-01-01 00:00:00 -23:59 \x1b[31m" + "9" * 100_000)
