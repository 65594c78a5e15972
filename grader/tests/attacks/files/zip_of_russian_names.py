"""Packs Cyrillic names in the code pages of DOS and Windows (cp866, cp1251), a folder with such a name around.

Must: get full credit.
"""

import zipfile

FAMILY = "accident"
STOCK = "a zip file is for the collector"
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in right.items():
            archive.writestr(f"FOLDER/{name}", text)
        archive.writestr("FOLDER/REPORT.txt", "text")
    data = path.read_bytes()
    data = data.replace(b"FOLDER", "Работа".encode("cp866")).replace(b"REPORT", "ОтчётЫ".encode("cp1251"))
    path.write_bytes(data)
