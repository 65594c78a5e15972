"""Keeps the inputs of each check in every writable place, for a later check's error to tell.

Must: read nothing of hidden inputs in its feedback; each run starts from nothing.
"""

FAMILY = "secrets"
TARGET = "words"
DESERVES = 1

import contextlib
import glob
import os
from pathlib import Path

PLACES = ["/tmp", "/dev/shm", "/submission", os.path.dirname(__file__), "/var/tmp", "/run/lock"]


def count(text):
    for path in [p for place in PLACES for p in glob.glob(f"{place}/kept*")]:
        raise ValueError(Path(path).read_text())
    for place in PLACES:
        with contextlib.suppress(OSError):
            Path(place, "kept").write_text(text)
    found = {}
    for word in text.lower().split():
        found[word] = found.get(word, 0) + 1
    return found if "one" not in found else {}
