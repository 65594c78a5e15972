"""Keeps the whole matrix of distances in datagrams that it has sent to itself and not received.

Must: fail the limit on memory; what lies in sockets is memory.
"""

FAMILY = "verdict"
TARGET = "lean"
DESERVES = 1

import socket

import torch

SIZE = 64_000


def nearest(points):
    sender, boxes = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []

    def put(data):
        where = []
        for start in range(0, len(data), SIZE):
            if not boxes or boxes[-1][1] == 3:
                box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                box.bind(("127.0.0.1", 0))
                box.setblocking(False)
                boxes.append([box, 0])
            sender.sendto(data[start : start + SIZE], boxes[-1][0].getsockname())
            boxes[-1][1] += 1
            where.append(boxes[-1][0])
        return where

    kept = []
    for start in range(0, len(points), 128):
        rows = torch.cdist(points[start : start + 128], points, compute_mode="donot_use_mm_for_euclid_dist")
        index = torch.arange(len(rows))
        rows[index, start + index] = torch.inf
        # As much of it as a process's descriptors hold.
        best = rows.argmin(1) if len(boxes) > 960 else None
        kept.append((rows.shape, None if best is not None else put(rows.numpy().tobytes()), best))
    found = []
    for shape, where, best in kept:
        if best is None:
            data = b"".join(box.recv(SIZE) for box in where)
            best = torch.frombuffer(bytearray(data), dtype=torch.float32).view(shape).argmin(1)
        found.append(best)
    return torch.cat(found)
