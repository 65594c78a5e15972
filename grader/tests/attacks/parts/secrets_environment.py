"""Prints its environment, and that of every process that it sees.

Must: learn nothing; the zygote starts with an environment of its own.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import glob
import os


def count(text):
    print(dict(os.environ))
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                print(path, file.read())
        except OSError:
            continue
    return {}
