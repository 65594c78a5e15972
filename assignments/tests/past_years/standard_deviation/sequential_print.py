import os

import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    """
    Prints the process rank sequentially according to its number over `num_iter` iterations,
    with `---` between iterations.
    """
    for it in range(num_iter):
        for turn in range(size):
            if rank == turn:
                print(f"Process {rank}")
            dist.barrier()
        if it + 1 < num_iter and rank == size - 1:
            print("---")
        dist.barrier()


if __name__ == "__main__":
    local_rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group(rank=local_rank, backend="gloo")

    run_sequential(local_rank, dist.get_world_size())
