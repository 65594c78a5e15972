"""Hands in a RAR file that was renamed to .zip.

Must: be told in a sentence what is wrong.
"""

FAMILY = "accident"
STOCK = "a zip file is for the collector"
FAST = True
DESERVES = {}
SAYS = "no zip file; hand it in again"


def make(folder, right):
    folder.with_name(f"{folder.name}.zip").write_bytes(b"Rar!\x1a\x07\x01\x00" + bytes(500))
