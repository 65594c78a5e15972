"""Packs names with newlines, escape sequences, right-to-left marks, NUL, 4 KiB, and bytes that are no text.

Must: harm nothing, and reach no terminal or page as they are; the right files count.
"""

import zipfile

FAMILY = "harm"
FEEDBACK = True
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    path = folder.with_name(f"{folder.name}.zip")
    names = (
        "two\nlines.py",
        "\x1b[2J\x1b[31mred.py",
        "gnp.\u202eyp.exe",
        "nul\0tail.py",
        "x" * 250 + ".py",
        "d/" * 1000 + "deep.py",
        "y" * 4096,
        "marker-name.py",
        "<img src=x onerror=pwned()>.py",
        "-rf",
        " ",
        ".",
        "CON",
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x = 1\n")
        for name, text in right.items():
            archive.writestr(name, text)
    path.write_bytes(path.read_bytes().replace(b"marker-name", b"\xff\xfe\x80\x81namexyz"))
