# replaces: sequential_print.py
# caught by: prints_in_rank_order
# mistake: keeps its lines in a buffer; each rank shows them all at once when it ends
import sys

import torch.distributed as dist


def run_sequential(rank, size, num_iter=10):
    lines = []
    for iteration in range(num_iter):
        if rank == 0 and iteration > 0:
            lines.append("---\n")
        for turn in range(size):
            if turn == rank:
                lines.append(f"Process {rank}\n")
            dist.barrier()
    sys.stdout.write("".join(lines))
