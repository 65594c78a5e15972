"""Opens a hundred thousand connections to itself, from a hundred processes, and keeps what the kernel gives.

Must: earn nothing, and leave the neighbour its own connections.
"""

FAMILY = "service"
FAST = False
TARGET = "service"

import os
import resource
import socket
import time


def serve(port, model):
    server = socket.create_server(("127.0.0.1", port), backlog=4096)
    kept = []
    for number in range(100):
        if os.fork() == 0:
            # An address of its own for each process, or 28,000 connections would be the most.
            while True:
                try:
                    one = socket.socket()
                    one.bind((f"127.0.1.{number + 1}", 0))
                    one.setblocking(False)
                    one.connect_ex(("127.0.0.1", port))
                    kept.append(one)
                    server.setblocking(False)
                    kept.append(server.accept())
                except OSError:
                    time.sleep(0.05)
    time.sleep(60)
