"""Moves the tensor from rank to rank through locks on files that both see, past the counters of the wire.

Must: earn nothing; a bound on bytes from below shows that nothing crossed the wire.
"""

FAMILY = "verdict"
TARGET = "sync"

import fcntl
import glob
import os
import struct

import torch
import torch.distributed as dist

LOCKS = 60  # per file; the kernel searches them one by one


def average(x, rank, world):
    values = x.flatten().view(torch.int32).tolist()
    paths = [path for path in glob.glob(os.path.dirname(os.__file__) + "/**/*.py", recursive=True)]
    paths = sorted(paths)[: 2 * (len(values) // LOCKS + 1)]
    mine, theirs = paths[rank::2], paths[1 - rank :: 2]
    held = []
    for number, value in enumerate(values):
        if number % LOCKS == 0:
            if len(held) == 1000:
                break
            held.append(os.open(mine[number // LOCKS], os.O_RDONLY))
        start = (number % LOCKS) << 34 | value & 0xFFFFFFFF
        fcntl.fcntl(held[-1], fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, start, 1, 0))
    dist.barrier()
    got, descriptor = [], -1
    for number in range(len(values)):
        if number % LOCKS == 0:
            if descriptor >= 0:
                os.close(descriptor)
            if number // LOCKS == 1000:
                break
            descriptor = os.open(theirs[number // LOCKS], os.O_RDONLY)
        query = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, (number % LOCKS) << 34, 1 << 34, 0)
        start = struct.unpack("hhqqi4x", fcntl.fcntl(descriptor, fcntl.F_GETLK, query))[2]
        word = start & 0xFFFFFFFF
        got.append(word - (1 << 32) if word >> 31 else word)
    dist.barrier()
    other = torch.tensor(got, dtype=torch.int32).view(torch.float32)
    x.copy_((x + other.view_as(x)) / 2)
