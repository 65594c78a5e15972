"""Answers as soon as somebody connects, so that no answer takes any time.

Must: earn nothing.
"""

FAMILY = "service"
FAST = True
TARGET = "service"

import socket


def serve(port, model):
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            one, _ = server.accept()
            one.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"sum": 0.0}')
            one.shutdown(socket.SHUT_WR)
