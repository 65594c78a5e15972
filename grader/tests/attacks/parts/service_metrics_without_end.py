"""Answers with a hundred megabytes of metrics, each sample twice.

Must: earn nothing, and cost the examiner no memory.
"""

FAMILY = "service"
FAST = False
TARGET = "service"
GROWS = 300

import socket


def serve(port, model):
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            one, _ = server.accept()
            with one:
                one.recv(65536)
                try:
                    one.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"answers_total 0\n" * 6_000_000)
                except OSError:
                    continue
