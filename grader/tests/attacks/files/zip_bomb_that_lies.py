"""Packs 300 MB of zeros and writes into the directory of the zip file that they are 10 bytes.

Must: be refused or cut; sizes that a zip file claims count for nothing.
"""

import zipfile

FAMILY = "harm"


def make(folder, right):
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sums.py", bytes(300_000_000))
    data = path.read_bytes()
    path.write_bytes(data.replace((300_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
