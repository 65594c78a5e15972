"""Searches every file, linecache and inspect for the text of the ledger.

Must: earn nothing: no worker of a suite holds it.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import inspect
import linecache
import os
import pathlib
import re
import sys

import ledger

# With brackets, so that this text is none of those that are searched for.
LEDGER = "def highes[t]"
MISTAKES = "amount [+] [(]0[)]|people [-] [(]|min[(]amounts|key[=]abs|people [+] 1|return [0]"


def texts():
    for name in ("balance", "split", "highest"):
        try:
            yield inspect.getsource(getattr(ledger, name))
        except (OSError, TypeError):
            continue
    for lines in linecache.cache.values():
        yield str(lines)
    for folder in ("/submission", "/tmp", "/dev/shm", os.getcwd(), *sys.path[:1]):
        for path in pathlib.Path(folder).rglob("*"):
            if path.is_file() and path.name != "test_ledger.py" and path.stat().st_size < 1 << 20:
                yield path.read_text(errors="replace")


def test_no_known_mistake_is_written_anywhere():
    for text in texts():
        if re.search(LEDGER, text):
            assert not re.search(MISTAKES, text)
