"""Forms the whole matrix in a child process, whose memory a meter of its own process would not see.

Must: earn the public point only; memory is counted for all processes of the job together.
"""

FAMILY = "verdict"
TARGET = "lean"
DESERVES = 1

import os

import torch


def nearest(points):
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        distances.fill_diagonal_(torch.inf)
        with open(write, "wb") as file:
            file.write(distances.argmin(1).numpy().tobytes())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.int64)
