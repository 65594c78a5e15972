"""Hands in a zip file that is encrypted, cut, and has years and methods that do not exist.

Must: be refused in a sentence.
"""

import zipfile

FAMILY = "harm"
FAST = True
SAYS = "zip"


def make(folder, right):
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sums.py", right["sums.py"])
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1  # encrypted
    data[at + 10 : at + 12] = (99).to_bytes(2, "little")  # method
    data[at + 12 : at + 16] = b"\xff" * 4  # date
    path.write_bytes(bytes(data))
