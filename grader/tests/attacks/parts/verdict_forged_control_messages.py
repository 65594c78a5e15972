"""Sends the grader's own control messages: a port, an exit report, a broken sandbox.

Must: earn nothing, and the grader must not take the machine for broken.
"""

FAMILY = "verdict"
TARGET = "words"

import json
import os
import sys

wire = sys.modules["grader.sandbox.wire"]
lines = [{"setup": "broken"}, {"rank": 0, "exit": 0}, {"port": 80}, {"done": True}]
for descriptor in range(1, 64):
    for line in lines:
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
            os.write(descriptor, wire.encode(line))
        except OSError:
            break


def count(text):
    return {}
