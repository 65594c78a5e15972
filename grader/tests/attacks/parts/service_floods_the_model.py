"""Writes calls of the model by the thousand and reads no answer, from several threads.

Must: earn nothing, and keep the examiner free to end it.
"""

FAMILY = "service"
FAST = False
TARGET = "service"
GROWS = 600

import socket
import sys
import threading

import torch


def flood(examiner, frame):
    while True:
        examiner.sendall(frame)


def serve(port, model):
    wire = sys.modules["grader.sandbox.wire"]
    examiner = sys._getframe(1).f_locals["examiner"]
    for batch in (torch.zeros(8, 4), torch.zeros(8, 4), torch.zeros(4_000_000, 4), [[]] * 100_000, None):
        frame = wire.encode({"ask": 1, "batch": batch})
        threading.Thread(target=flood, args=(examiner, frame), daemon=True).start()
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            one, _ = server.accept()
            one.close()
