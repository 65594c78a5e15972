"""Leaves 30,000 files in its folder, past collecting.

Must: be cut at the limit, with a sentence; its right files count.
"""

FAMILY = "harm"
INTO = "submitted"
DESERVES = {"lab": 7, "part": 4}
SAYS = "left out"


def make(folder, right):
    (folder / "aaa").mkdir(parents=True)
    for index in range(30_000):
        (folder / "aaa" / f"{index}").touch()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
