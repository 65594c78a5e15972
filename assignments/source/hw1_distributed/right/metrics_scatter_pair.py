# replaces: metrics.py
# method: sizes by broadcast, inputs and labels by two scatters, the number of right rows by reduce
import torch
import torch.distributed as dist


@torch.no_grad()
def sharded_accuracy(model, inputs, labels, rank, size):
    sizes = torch.zeros(2, dtype=torch.int64)
    if rank == 0:
        sizes = torch.tensor(inputs.shape)
    dist.broadcast(sizes, 0)
    total, width = sizes.tolist()
    rows = (total + size - 1) // size

    x = torch.zeros(rows, width)
    y = torch.zeros(rows, dtype=torch.int64)
    if rank == 0:
        padding = rows * size - total
        all_x = torch.cat([inputs, torch.zeros(padding, width)])
        all_y = torch.cat([labels, torch.full((padding,), -1)])  # -1: never right
        dist.scatter(x, list(all_x.chunk(size)), src=0)
        dist.scatter(y, list(all_y.chunk(size)), src=0)
    else:
        dist.scatter(x, src=0)
        dist.scatter(y, src=0)

    was_training = model.training
    model.eval()
    right = (model(x).argmax(dim=1) == y).sum()
    model.train(was_training)
    dist.reduce(right, 0)
    return right.item() / total if rank == 0 else None
