import os

import torch
import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    t = torch.zeros(1)
    for i in range(num_iter):
        if rank != 0:
            dist.recv(t, rank - 1)
        elif i != 0:
            if size > 1:
                dist.recv(t, size - 1)
            print("---", flush=True)
        print(f"Process {rank}", flush=True)
        if rank != size - 1:
            dist.send(t, rank + 1)
        elif i != num_iter - 1 and size > 1:
            dist.send(t, 0)


if __name__ == "__main__":
    local_rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group(rank=local_rank, backend="gloo")

    run_sequential(local_rank, dist.get_world_size())
