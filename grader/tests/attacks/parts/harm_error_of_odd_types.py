"""Reports errors whose type, line and message are integers of many digits, lists, and nothing.

Must: fail with a sentence, not break the check.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"

import json
import os
import struct
import time

big = {"i": "0x" + "f" * 30_000}
odd = [["type", big], ["message", {"t": [1, 2]}], ["line", big], ["file", [1]], ["code", None]]


def count(text):
    errors = [{"d": odd}, 7, {"t": []}, None] if "dog" in text else [{"d": odd[1:2]}, big]
    for error in errors:
        tree = json.dumps({"v": {"d": [["error", error]]}, "b": []}).encode()
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, struct.pack("<IQ", len(tree), 0) + tree)
            except OSError:
                continue
    time.sleep(0.3)
