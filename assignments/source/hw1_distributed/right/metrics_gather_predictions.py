# replaces: metrics.py
# method: labels never leave rank 0: predictions come back by gather; rows dealt like cards
import torch
import torch.distributed as dist


@torch.no_grad()
def sharded_accuracy(model, inputs, labels, rank, size):
    shape = [tuple(inputs.shape) if rank == 0 else None]
    dist.broadcast_object_list(shape, src=0)
    n, width = shape[0]
    per_rank = -(-n // size)
    pieces = None
    if rank == 0:
        padded = inputs.new_zeros(per_rank * size, width)
        padded[:n] = inputs
        pieces = [padded[r::size].contiguous() for r in range(size)]
    mine = torch.empty(per_rank, width)
    dist.scatter(mine, pieces, src=0)

    own = len(range(rank, n, size))  # rows that are not padding
    predicted = torch.full((per_rank,), -1)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    if own:
        predicted[:own] = model(mine[:own]).argmax(1)
    for module, training in modes.items():
        module.training = training

    everything = [torch.empty_like(predicted) for _ in range(size)] if rank == 0 else None
    dist.gather(predicted, everything, dst=0)
    if rank != 0:
        return None
    return (torch.stack(everything, dim=1).flatten()[:n] == labels).double().mean().item()
