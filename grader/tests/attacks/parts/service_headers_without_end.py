"""Sends headers for ever, as fast as the socket takes them.

Must: earn nothing, and fill nobody's memory.
"""

FAMILY = "service"
FAST = False
TARGET = "service"
GROWS = 200

import socket


def serve(port, model):
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            one, _ = server.accept()
            with one:
                try:
                    one.recv(65536)
                    one.sendall(b"HTTP/1.1 200 OK\r\n")
                    while True:
                        one.sendall(b"X-Header: " + b" " * 60_000 + b"\r\n")
                except OSError:
                    continue
