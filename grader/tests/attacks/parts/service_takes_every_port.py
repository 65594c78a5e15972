"""Listens on every port that its network has, those of the examiner's own connections among them.

Must: earn nothing, and harm nobody but itself.
"""

FAMILY = "service"
FAST = False
TARGET = "service"

import os
import socket
import time


def serve(port, model):
    kept = [socket.create_server(("127.0.0.1", port))]
    for number in range(64):
        if os.fork() == 0:
            for other in range(1024 + number, 65536, 64):
                try:
                    kept.append(socket.create_server(("0.0.0.0", other), reuse_port=False))
                except OSError:
                    continue
            time.sleep(60)
    time.sleep(60)
