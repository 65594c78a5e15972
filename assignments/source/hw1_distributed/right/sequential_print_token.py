# replaces: sequential_print.py
# method: a token goes around the ring; the last rank prints the line between
import os

import torch
import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    token = torch.zeros(1)
    previous, following = (rank - 1) % size, (rank + 1) % size
    for i in range(num_iter):
        first_turn = rank == 0 and i == 0
        if size > 1 and not first_turn:
            dist.recv(token, src=previous)
        print("Process", rank, flush=True)
        last_turn = rank == size - 1 and i == num_iter - 1
        if rank == size - 1 and not last_turn:
            print("---", flush=True)
        if size > 1 and not last_turn:
            dist.send(token, dst=following)


if __name__ == "__main__":
    local_rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", rank=local_rank, world_size=int(os.environ["WORLD_SIZE"]))
    run_sequential(local_rank, dist.get_world_size())
    dist.destroy_process_group()
