# replaces: sequential_print.py
# method: a barrier after every turn
import os

import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    for i in range(num_iter):
        if i > 0:
            if rank == 0:
                print("---", flush=True)
            dist.barrier()
        for turn in range(size):
            if turn == rank:
                print(f"Process {rank}", flush=True)
            dist.barrier()


if __name__ == "__main__":
    local_rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", rank=local_rank, world_size=int(os.environ["WORLD_SIZE"]))
    run_sequential(local_rank, dist.get_world_size())
    dist.destroy_process_group()
