"""Breaks every connection off, in each way that TCP has.

Must: earn nothing.
"""

FAMILY = "service"
FAST = False
TARGET = "service"

import itertools
import socket
import struct


def serve(port, model):
    with socket.create_server(("127.0.0.1", port)) as server:
        for way in itertools.cycle(range(4)):
            one, _ = server.accept()
            if way == 0:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if way == 1:
                one.shutdown(socket.SHUT_RD)
            if way == 2:
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
