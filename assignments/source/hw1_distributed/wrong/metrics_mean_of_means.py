# replaces: metrics.py
# caught by: accuracy_equals_that_of_one_process
# mistake: averages the accuracies of shards of different sizes
import torch
import torch.distributed as dist


@torch.no_grad()
def sharded_accuracy(model, inputs, labels, rank, size):
    shape = torch.tensor(inputs.shape) if rank == 0 else torch.empty(2, dtype=torch.int64)
    dist.broadcast(shape, 0)
    total, width = shape.tolist()
    rows = -(-total // size)
    my_inputs, my_labels = torch.empty(rows, width), torch.empty(rows, dtype=torch.int64)
    for mine, whole in ((my_inputs, inputs), (my_labels, labels)):
        shards = None
        if rank == 0:
            padding = whole.new_zeros(rows * size - total, *whole.shape[1:])
            shards = list(torch.cat([whole, padding]).chunk(size))
        dist.scatter(mine, shards, 0)
    valid = max(0, min(rows, total - rank * rows))
    was_training = model.training
    model.eval()
    predicted = model(my_inputs[:valid]).argmax(1)
    model.train(was_training)
    share = (predicted == my_labels[:valid]).float().mean()
    dist.reduce(share, 0)
    return share.item() / size if rank == 0 else None
