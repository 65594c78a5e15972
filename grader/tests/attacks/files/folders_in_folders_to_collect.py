"""Nests folders 2,000 deep in a folder that is handed in.

Must: lose nothing but what lies too deep.
"""

import os

FAMILY = "harm"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(2000):
        os.mkdir("d")
        os.chdir("d")
    with open("bottom.txt", "w") as file:
        file.write("you found it")
    os.chdir(here)
