"""Makes its module and its timestamp.txt files of 3 GiB, all holes.

Must: be refused without being read.
"""

FAMILY = "harm"
FAST = True
INTO = "submitted"
DESERVES = {"lab": 7}
SAYS = "left out"


def make(folder, right):
    folder.mkdir()
    (folder / "lab.ipynb").write_text(right["lab.ipynb"], encoding="utf-8")
    for name in ("sums.py", "timestamp.txt"):
        with (folder / name).open("wb") as file:
            file.truncate(3 << 30)
