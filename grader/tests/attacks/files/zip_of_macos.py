"""Packs with the archive tool of macOS: __MACOSX, .DS_Store and a folder around.

Must: get full credit.
"""

import zipfile

FAMILY = "accident"
STOCK = "a zip file is for the collector"
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    with zipfile.ZipFile(f"{folder}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("My homework/.DS_Store", b"\0\0\0\1Bud1")
        for name, text in right.items():
            archive.writestr(f"My homework/{name}", text)
            archive.writestr(f"__MACOSX/My homework/._{name}", b"\0\5\26\7")
