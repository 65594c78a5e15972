"""Sends its answers a byte at a time, for as long as somebody waits, and reads as slowly.

Must: earn nothing, and cost no more than the time of a question.
"""

FAMILY = "service"
FAST = False
TARGET = "service"

import socket
import threading
import time


def drip(one):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    try:
        while True:
            one.recv(1)
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
                one.send(bytes([byte]))
                time.sleep(0.1)
    except OSError:
        return


def serve(port, model):
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()
