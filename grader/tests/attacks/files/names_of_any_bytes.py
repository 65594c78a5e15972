"""Names files with newlines, escape sequences, right-to-left marks and bytes that are no text, past collecting.

Must: reach no terminal or page as they are; the right files count.
"""

import os

FAMILY = "harm"
FEEDBACK = True
FAST = True
INTO = "submitted"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
    place = os.fsencode(folder) + b"/"
    for name in (
        b"\xff\xfe.py",
        b"two\nlines.py",
        b"\x1b[2J.py",
        "gnp.\u202eyp".encode(),
        b"-rf",
        b"<script>pwned()</script>".replace(b"/", b"|"),
        b"z" * 255,
    ):
        with open(place + name, "w") as file:
            file.write("x = 1\n")
        os.symlink("/etc/passwd", place + b"link-" + name[:100])
