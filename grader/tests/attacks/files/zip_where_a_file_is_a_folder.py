"""Packs one name as a file and as a folder, and one file twice.

Must: harm nothing, and cost nothing but a sentence.
"""

import warnings
import zipfile

FAMILY = "harm"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    with warnings.catch_warnings(), zipfile.ZipFile(f"{folder}.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for name, text in right.items():
            archive.writestr(name, text)
        archive.writestr("extra", "a file")
        archive.writestr("extra/inside.py", "a file in that file")
        archive.writestr("sums.py", right["sums.py"])
        archive.writestr("sums.py/again.py", "x = 1")
