# replaces: metrics.py
# method: the label travels as one more column of its row, one scatter; all_reduce of right and seen rows
import torch
import torch.distributed as dist


@torch.no_grad()
def sharded_accuracy(model, inputs, labels, rank, size):
    head = torch.tensor([len(inputs), inputs.size(1)]) if rank == 0 else torch.empty(2, dtype=torch.long)
    dist.broadcast(head, src=0)
    n, width = int(head[0]), int(head[1])
    rows = (n + size - 1) // size
    pieces = None
    if rank == 0:
        table = torch.cat([inputs, labels[:, None].float()], dim=1)  # a class number is exact in float32
        table = torch.nn.functional.pad(table, (0, 0, 0, rows * size - n), value=-1)
        pieces = list(table.split(rows))
    shard = torch.empty(rows, width + 1)
    dist.scatter(shard, pieces, src=0)
    shard = shard[shard[:, -1] >= 0]

    training = model.training
    model.eval()
    hits = (model(shard[:, :-1]).argmax(-1) == shard[:, -1].long()).sum() if len(shard) else torch.tensor(0)
    if training:
        model.train()
    counts = torch.tensor([int(hits), len(shard)])
    dist.all_reduce(counts)
    if rank == 0:
        return (counts[0] / counts[1]).item()
