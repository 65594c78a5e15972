"""Fills the buffers of TCP and UDP sockets over its loopback, memory that belongs to no process; 3 GiB at most.

Must: be counted or bounded; the machine's TCP must not run short of memory.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import os
import socket
import time

from honest import count as right

kept = []


def fill(many):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        for _ in range(many):
            client = socket.create_connection(server.getsockname())
            served, _ = server.accept()
            client.setblocking(False)
            kept.extend((client, served))
            sent = 0
            try:
                while sent < 16 << 20:
                    sent += client.send(b"x" * (1 << 20))
            except OSError:
                continue


def memory():
    with open("/proc/net/sockstat") as file:
        fields = file.read().split("TCP:")[1].split()
    return int(fields[fields.index("mem") + 1]) * 4096 >> 20


def count(text):
    for _ in range(40):
        if os.fork() == 0:
            fill(24)
            time.sleep(2)
            os._exit(0)
    time.sleep(2)
    if memory() > 400:  # MiB; the limit is 256
        print("TCP holds", memory(), "MiB")
        return {}
    return right(text)
