# replaces: sequential_print.py
# caught by: prints_alone
# mistake: waits for a second rank that world size 1 does not have
import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    store = dist.distributed_c10d._get_default_store()
    for iteration in range(num_iter):
        for turn in range(size):
            if turn == rank:
                print(f"Process {rank}", flush=True)
                store.set(f"{iteration} {rank}", "done")
            store.wait([f"{iteration} {turn}"])
        if rank == 1:
            store.set(f"{iteration} end", "done")
        store.wait([f"{iteration} end"])
        if rank == 0 and iteration < num_iter - 1:
            print("---", flush=True)
        dist.barrier()
