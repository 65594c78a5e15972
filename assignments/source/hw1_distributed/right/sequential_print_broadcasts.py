# replaces: sequential_print.py
# method: who has printed broadcasts that it has; one call to print for several lines
import torch
import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    dist.barrier()
    for step in range(num_iter * size):
        i, turn = divmod(step, size)
        if turn == rank:
            line = f"Process {rank}\n"
            if turn == 0 and i > 0:
                line = "---\n" + line
            print(line, end="", flush=True)
        printed = torch.ones(1)
        dist.broadcast(printed, src=turn)
        printed.item()
