"""Sends its answer in chunks of one byte, millions of them.

Must: earn nothing, and keep no reader busy.
"""

FAMILY = "service"
FAST = False
TARGET = "service"

import socket


def serve(port, model):
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            one, _ = server.accept()
            with one:
                try:
                    one.recv(65536)
                    one.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    while True:
                        one.sendall(b"1\r\nx\r\n" * 10_000)
                except OSError:
                    continue
