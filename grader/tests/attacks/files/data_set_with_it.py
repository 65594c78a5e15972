"""Hands in a data set of 200 MB and a virtual environment of 5,000 files with it.

Must: get full credit; what the assignment did not ask for is left out.
"""

FAMILY = "accident"
STOCK = "would copy 200 MB"
FAST = True
DESERVES = {"lab": 7, "part": 4}
SAYS = "left out"


def make(folder, right):
    (folder / "a_data").mkdir(parents=True)
    with (folder / "a_data" / "train.bin").open("wb") as file:
        file.truncate(200_000_000)
    (folder / "env" / "lib").mkdir(parents=True)
    for index in range(5000):
        (folder / "env" / "lib" / f"{index}.py").touch()
    for name, text in right.items():
        (folder / name).write_text(text)
