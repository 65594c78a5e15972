"""Announces more bytes than it sends, fewer, and both at once in two answers.

Must: earn nothing, and keep nobody waiting.
"""

FAMILY = "service"
FAST = True
TARGET = "service"

import itertools
import socket


def serve(port, model):
    with socket.create_server(("127.0.0.1", port)) as server:
        for length in itertools.cycle([100, 1, 0, 10**15, -1]):
            one, _ = server.accept()
            with one:
                one.recv(65536)
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nanswers_total 0\n" % length)
