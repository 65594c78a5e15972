"""Takes memory until it ends, at most 6 GiB, in one process.

Must: be stopped at the part's limit and be told so.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"


def count(text):
    hoard = []
    for _ in range(96):
        hoard.append(bytearray(b"x") * (64 << 20))
    return {"kept": len(hoard)}
