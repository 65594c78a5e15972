"""Puts a file of 8 GiB, all holes, past collecting.

Must: neither be read into memory nor be copied.
"""

FAMILY = "harm"
FAST = True
INTO = "submitted"
DESERVES = {"lab": 7, "part": 4}
SAYS = "left out"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
    with (folder / "holes.bin").open("wb") as file:
        file.truncate(8 << 30)
