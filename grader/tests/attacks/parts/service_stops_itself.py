"""Listens, and stops all of its processes, so that whoever connects waits.

Must: earn nothing, and cost no more than the time of a question.
"""

FAMILY = "service"
FAST = False
TARGET = "service"

import os
import signal
import socket


def serve(port, model):
    server = socket.create_server(("127.0.0.1", port))
    one, _ = server.accept()
    os.kill(0, signal.SIGSTOP)
