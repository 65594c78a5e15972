"""Packs with a tool that writes backslashes between folders.

Must: get full credit.
"""

import zipfile

FAMILY = "accident"
STOCK = "a zip file is for the collector"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    with zipfile.ZipFile(f"{folder}.ZIP", "w") as archive:
        for name, text in right.items():
            archive.writestr(f"Homework\\final\\{name}", text)
