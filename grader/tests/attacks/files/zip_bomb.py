"""Packs 300 MB of zeros into 300 kB.

Must: be stopped by the bytes that come out.
"""

import zipfile

FAMILY = "harm"
FAST = True
DESERVES = {"lab": 7, "part": 4}
SAYS = "left out"


def make(folder, right):
    with zipfile.ZipFile(f"{folder}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in right.items():
            archive.writestr(name, text)
        for index in range(3):
            archive.writestr(f"data/zeros{index}.bin", bytes(100_000_000))
