# replaces: sequential_print.py
# caught by: prints_in_rank_order
# mistake: prints --- after every iteration, also after the last
import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    for _ in range(num_iter):
        for turn in range(size):
            if turn == rank:
                print(f"Process {rank}", flush=True)
            dist.barrier()
        if rank == 0:
            print("---", flush=True)
        dist.barrier()
