# replaces: metrics.py
# caught by: accuracy_equals_that_of_one_process
# mistake: sends the whole data set to everybody
# needs: namespaces, without which nobody counts what the ranks send
import torch
import torch.distributed as dist


@torch.no_grad()
def sharded_accuracy(model, inputs, labels, rank, size):
    shape = torch.tensor(inputs.shape) if rank == 0 else torch.empty(2, dtype=torch.int64)
    dist.broadcast(shape, 0)
    total, width = shape.tolist()
    rows = -(-total // size)
    if rank > 0:
        inputs, labels = torch.empty(total, width), torch.empty(total, dtype=torch.int64)
    dist.broadcast(inputs, 0)
    dist.broadcast(labels, 0)
    my_inputs, my_labels = (whole[rank * rows : (rank + 1) * rows] for whole in (inputs, labels))
    valid = max(0, min(rows, total - rank * rows))
    was_training = model.training
    model.eval()
    predicted = model(my_inputs[:valid]).argmax(1)
    model.train(was_training)
    correct = (predicted == my_labels[:valid]).sum()
    dist.reduce(correct, 0)
    return correct.item() / total if rank == 0 else None
