import os
import random
import sys
from functools import partial

import torch
import torch.distributed as dist
from torch.multiprocessing import Process


def init_process(rank, size, fn, master_port, backend="gloo"):
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ["MASTER_PORT"] = str(master_port)
    dist.init_process_group(backend, rank=rank, world_size=size)
    fn(rank, size)


def ring_allreduce(send, rank, size):
    if size == 1:
        return send
    n = send.numel()
    pad = -n % size
    buf = torch.cat([send.reshape(-1), send.new_zeros(pad)]).view(size, -1)
    tmp = torch.empty_like(buf[0])
    prev, nxt = (rank + size - 1) % size, (rank + 1) % size

    def exchange(out, into):
        # even ranks talk first, odd ranks listen first
        if rank % 2 == 0:
            dist.send(out, nxt)
            dist.recv(into, prev)
        else:
            dist.recv(into, prev)
            dist.send(out, nxt)

    for k in range(size - 1):
        exchange(buf[(rank - k) % size], tmp)
        buf[(rank - k - 1) % size] += tmp
    for k in range(size - 1):
        exchange(buf[(rank + 1 - k) % size], tmp)
        buf[(rank - k) % size] = tmp
    send.copy_((buf.view(-1)[:n] / size).view_as(send))
    return send


def run_allreduce(rank, size, length):
    torch.manual_seed(rank)
    ours = torch.randn(length)
    theirs = ours.clone()
    ring_allreduce(ours, rank, size)
    dist.all_reduce(theirs)
    print(rank, (ours - theirs / size).abs().max())


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    port = random.randint(25000, 30000)
    processes = [
        Process(target=init_process, args=(r, size, partial(run_allreduce, length=1000), port))
        for r in range(size)
    ]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
