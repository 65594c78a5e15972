"""Moves the tensor from rank to rank through abstract sockets.

Must: earn nothing; a rank has a network namespace of its own, and abstract names belong to it.
"""

FAMILY = "verdict"
FAST = True
TARGET = "sync"

import socket

import torch
import torch.distributed as dist


def average(x, rank, world):
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.bind(f"\0rank{rank}")
    other.settimeout(2)
    dist.barrier()
    data = x.flatten().numpy().tobytes()
    for at in range(0, len(data), 16384):
        other.sendto(data[at : at + 16384], f"\0rank{1 - rank}")
    got = b""
    while len(got) < len(data):
        got += other.recv(16384)
    x.copy_((x + torch.frombuffer(bytearray(got), dtype=torch.float32).view_as(x)) / 2)
