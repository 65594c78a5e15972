"""Packs 100,000 empty files.

Must: be cut at the limit, with a sentence; the files that the assignment asks for are taken.
"""

import zipfile

FAMILY = "harm"
DESERVES = {"lab": 7, "part": 4}
SAYS = "left out"


def make(folder, right):
    with zipfile.ZipFile(f"{folder}.zip", "w") as archive:
        for index in range(100_000):
            archive.writestr(f"many/{index}", "")
        for name, text in right.items():
            archive.writestr(name, text)
