"""Sends the examiner calls of the model with numbers, keys and answers that no honest worker sends.

Must: earn nothing, and break no check.
"""

FAMILY = "service"
FAST = True
TARGET = "service"

import socket
import sys
import time


def serve(port, model):
    wire = sys.modules["grader.sandbox.wire"]
    examiner = sys._getframe(1).f_locals["examiner"]
    key = sys._getframe(1).f_locals["call"]["answer"]
    with socket.create_server(("127.0.0.1", port)):
        time.sleep(0.1)
        for message in (
            {"ask": -1, "batch": None},
            {"ask": 10**30, "batch": []},
            {"ask": True},
            {"ask": 1.5, "batch": []},
            [key],
            {key: 10**30},
            {key: "0"},
            {"error": {"type": key, "message": 5, "file": [], "line": {}}},
            {"error": None},
        ):
            examiner.sendall(wire.encode(message))
            time.sleep(0.02)
        time.sleep(30)
