"""Has an accent in a comment of its module, saved in Latin-1.

Must: get full credit; a comment stops nobody.
"""

FAMILY = "accident"
STOCK = "concerns the module"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "sums.py").write_bytes(b"# caf\xe9\n" + right["sums.py"].encode())
