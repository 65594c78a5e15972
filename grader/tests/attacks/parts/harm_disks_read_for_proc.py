"""Reads what file systems tell in /proc/fs, for which the kernel reads the maps of all blocks of the machine's disks.

Must: find nothing there, nor what describes the machine's hardware.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import os

from honest import count as right


def count(text):
    found = []
    for name in ("fs", "bus", "irq"):
        for top, _, files in os.walk(f"/proc/{name}"):
            found += [os.path.join(top, file) for file in files]
    for path in found:
        try:
            with open(path, "rb") as file:
                file.read()
        except OSError:
            continue
    if found:
        print("read:", found[:5])
        return {}
    return right(text)
