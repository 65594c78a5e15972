"""Accuracy on a data set that only rank 0 holds, computed by all ranks.

Try it, in the repository: .venv/bin/torchrun --nproc-per-node 4 hw1_distributed/metrics.py
"""

import os

import torch
import torch.distributed as dist
from torch import nn


@torch.no_grad()
def sharded_accuracy(
    model: nn.Module, inputs: torch.Tensor | None, labels: torch.Tensor | None, rank: int, size: int
) -> float | None:
    """Return the accuracy over the whole data set on rank 0, None on the others.

    Rank 0 holds `inputs` [N, D] float32 and `labels` [N] int64; elsewhere both are None. `model` is the same
    on every rank and maps [n, D] to class scores [n, K]. Its mode, training or evaluation, is left as found;
    the accuracy is that of evaluation mode. Each rank runs the model on a shard of at most ceil(N / size)
    rows, which it receives through `dist.scatter`. N need not divide by `size` and may be smaller.
    """
    ### BEGIN SOLUTION
    # The others know neither N nor D, and scatter wants a buffer of the right size.
    shape = torch.tensor(inputs.shape) if rank == 0 else torch.empty(2, dtype=torch.int64)
    dist.broadcast(shape, src=0)
    total, width = shape.tolist()
    rows = -(-total // size)
    my_inputs = torch.empty(rows, width)
    my_labels = torch.empty(rows, dtype=torch.int64)
    dist.scatter(my_inputs, _equal_shards(inputs, rows, size) if rank == 0 else None, src=0)
    dist.scatter(my_labels, _equal_shards(labels, rows, size) if rank == 0 else None, src=0)
    mine = max(0, min(rows, total - rank * rows))  # the rest is padding

    was_training = model.training
    model.eval()
    predicted = model(my_inputs[:mine]).argmax(dim=1)
    model.train(was_training)
    correct = (predicted == my_labels[:mine]).sum()
    dist.reduce(correct, dst=0)
    return correct.item() / total if rank == 0 else None
    ### END SOLUTION


### BEGIN SOLUTION
def _equal_shards(whole: torch.Tensor, rows: int, size: int) -> list[torch.Tensor]:
    """Return `whole` cut into `size` tensors of `rows` rows, zeros where it is too short."""
    padded = whole.new_zeros(rows * size, *whole.shape[1:])
    padded[: len(whole)] = whole
    return list(padded.chunk(size))


### END SOLUTION


if __name__ == "__main__":
    local_rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group(backend="gloo", rank=local_rank, world_size=int(os.environ["WORLD_SIZE"]))
    torch.manual_seed(0)
    whole = torch.randn(1003, 64), torch.randint(10, (1003,))
    model = nn.Linear(64, 10)
    mine = whole if local_rank == 0 else (None, None)
    accuracy = sharded_accuracy(model, *mine, local_rank, dist.get_world_size())
    print(f"rank {local_rank}: {accuracy}", flush=True)
    dist.destroy_process_group()
