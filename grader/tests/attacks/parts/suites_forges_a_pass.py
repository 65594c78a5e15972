"""Sends the report of a run in which all tests passed, and never runs one.

Must: earn nothing: it kills nobody.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import os
import sys

frame = sys._getframe()
while frame is not None and "examiner" not in frame.f_locals:
    frame = frame.f_back
wire = sys.modules["grader.sandbox.wire"]
frame.f_locals["examiner"].sendall(wire.encode({"tests": [["test_a", "passed", ""]], "code": 0, "gone": ""}))
os._exit(0)
