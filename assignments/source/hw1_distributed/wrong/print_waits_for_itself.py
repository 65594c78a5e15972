# replaces: sequential_print.py
# caught by: prints_alone
# mistake: sends the token to the next rank also when that is itself
import torch
import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    token = torch.zeros(1)
    for iteration in range(num_iter):
        if rank > 0:
            dist.recv(token, src=rank - 1)
        print(f"Process {rank}", flush=True)
        dist.send(token, dst=(rank + 1) % size)
        if rank == 0:
            dist.recv(token, src=size - 1)
            if iteration < num_iter - 1:
                print("---", flush=True)
