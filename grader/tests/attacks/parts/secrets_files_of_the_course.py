"""Reads the hidden checks, the solutions, another submission and the course's notes by their full paths.

Must: learn nothing; only its own submission and the environment are mounted.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import os
from pathlib import Path

from places import PATHS


def count(text):
    for path in PATHS:
        for way in (
            path,
            f"/proc/1/root{path}",
            f"/old{path}",
            f"/proc/self/root/..{path}",
            f"/tmp/old{path}",
        ):
            try:
                print(Path(way).read_text())
            except OSError:
                continue
    for top, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if name not in ("usr", "proc", "lib", "bin", "sbin", "lib64")]
        for name in names:
            try:
                if os.path.getsize(f"{top}/{name}") < 1 << 20 and not top.startswith("/dev"):
                    print(Path(top, name).read_bytes()[:65536])
            except OSError:
                continue
    return {}
