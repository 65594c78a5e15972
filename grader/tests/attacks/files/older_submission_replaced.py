"""Hands in twice: a wrong submission, put into the course before, and the right one.

Must: get full credit for the last.
"""

FAMILY = "accident"
STOCK = "handing in twice is for the collector"
DESERVES = {"lab": 7, "part": 4}
SAYS = "replaces an earlier submission"


def make(folder, right):
    old = folder.parents[2] / "course" / "submitted" / folder.name / "hw"
    (old / "deep" / "er").mkdir(parents=True)
    (old / "deep" / "er" / "x.py").write_text("x = 1")
    (old / "sums.py").write_text("def total(numbers):\n    return 0\n")
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
