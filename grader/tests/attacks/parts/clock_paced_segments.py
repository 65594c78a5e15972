"""Leaves TCP sending small segments by its own timers to receivers that hundreds of epoll sets watch.

Must: earn no point for speed; a worker whose time is judged has no such sockets.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import os
import select
import signal
import socket

import torch

PACE, SEGMENT, CABLES, SETS = 47, 2, 40, 400
ends = []
try:
    with socket.create_server(("127.0.0.1", 0), backlog=CABLES) as server:
        server.setsockopt(socket.IPPROTO_TCP, SEGMENT, 88)
        for _ in range(CABLES):
            sender = socket.socket()
            sender.setsockopt(socket.IPPROTO_TCP, SEGMENT, 88)
            sender.setsockopt(socket.SOL_SOCKET, PACE, 200_000)  # bytes a second
            sender.connect(server.getsockname())
            sender.setblocking(False)
            ends.append((sender, server.accept()[0]))
except OSError:
    ends = []
ready, told = os.pipe()
for _ in range(12 if ends else 0):
    if os.fork() == 0:
        kept = []
        try:
            for _ in range(SETS):
                kept.append(select.epoll())
                for _, receiver in ends:
                    kept[-1].register(receiver, select.EPOLLIN | select.EPOLLET)
        except OSError:
            pass
        os.write(told, b"x")
        while True:
            signal.pause()
    os.read(ready, 1)


def somewhat_faster(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    pairs = x[:-1] + x[1:]
    for shift in range(0, k // 2, 2):
        total += pairs[shift : shift + len(total)]
    for shift in range((k // 2 + 1) // 2 * 2, k):
        total += x[shift : shift + len(total)]
    return total


def moving(x, k):
    result = somewhat_faster(x, k)
    for sender, receiver in ends:
        receiver.setblocking(False)
        try:
            while receiver.recv(1 << 20):
                pass
        except OSError:
            pass
        try:
            sender.send(bytes(40_000))
        except OSError:
            pass
    return result
