"""Packs files whose names lead out of the folder: upwards, absolute, with drives and backslashes.

Must: write nothing outside; the rest of the zip file is taken.
"""

import zipfile

FAMILY = "harm"
FAST = True
DESERVES = {"lab": 7, "part": 4}
SAYS = "leads out of the folder"


def make(folder, right):
    with zipfile.ZipFile(f"{folder}.zip", "w") as archive:
        for up in range(1, 8):
            archive.writestr("../" * up + "outside/precious.txt", "overwritten")
            archive.writestr("..\\" * up + "outside\\precious.txt", "overwritten")
        archive.writestr("/tmp/evil-by-zip.txt", "overwritten")
        archive.writestr("C:/evil.txt", "overwritten")
        archive.writestr("a/../../evil.txt", "overwritten")
        for name, text in right.items():
            archive.writestr(name, text)
