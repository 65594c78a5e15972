"""Gives two answers to one question, the second for whoever asks next.

Must: earn nothing.
"""

FAMILY = "service"
FAST = False
TARGET = "service"

import socket


def serve(port, model):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nanswers_total 0\n"
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            one, _ = server.accept()
            with one:
                one.recv(65536)
                one.sendall(answer + answer)
