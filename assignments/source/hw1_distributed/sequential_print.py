"""Print from several processes in a fixed order.

Try it, in the repository: .venv/bin/torchrun --nproc-per-node 4 hw1_distributed/sequential_print.py
"""

import os

import torch
import torch.distributed as dist


def run_sequential(rank: int, size: int, num_iter: int = 10) -> None:
    """Print `Process <rank>` from every rank in ascending order, `num_iter` times.

    A line `---` stands between two iterations, and only there. Each rank prints its own line. The order must
    follow from communication: no rank may rely on the speed of another.

    Example, 2 processes, num_iter=2:
        Process 0
        Process 1
        ---
        Process 0
        Process 1

    Arguments: `rank` of this process, `size` of the default process group, number of iterations (>= 1).
    """
    ### BEGIN SOLUTION
    # A token walks around the ring; who holds it prints. The token of the last iteration stays with the last.
    token = torch.zeros(1)
    for iteration in range(num_iter):
        if size > 1 and (rank > 0 or iteration > 0):
            dist.recv(token, src=(rank - 1) % size)
        if rank == 0 and iteration > 0:
            print("---", flush=True)
        print(f"Process {rank}", flush=True)
        if size > 1 and (rank < size - 1 or iteration < num_iter - 1):
            dist.send(token, dst=(rank + 1) % size)
    ### END SOLUTION


if __name__ == "__main__":
    local_rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group(backend="gloo", rank=local_rank, world_size=int(os.environ["WORLD_SIZE"]))
    run_sequential(local_rank, dist.get_world_size())
    dist.destroy_process_group()
