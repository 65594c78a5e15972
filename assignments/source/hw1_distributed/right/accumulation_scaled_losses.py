# replaces: accumulation.py
# method: the number of samples is agreed on first and scales each loss; then an all_reduce per parameter, started
#   together
import torch
import torch.distributed as dist


def accumulated_step(model, optimizer, loss_fn, micro_batches):
    for p in model.parameters():
        p.grad = None
    total = torch.tensor(sum(len(targets) for _, targets in micro_batches))
    dist.all_reduce(total)
    for inputs, targets in micro_batches:
        loss = loss_fn(model(inputs), targets)
        (loss * (len(targets) / total.item())).backward()

    trained = [p for p in model.parameters() if p.requires_grad]
    used = torch.tensor([p.grad is not None for p in trained], dtype=torch.uint8)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    works = []
    for p, somewhere in zip(trained, used.tolist(), strict=True):
        if somewhere:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            works.append(dist.all_reduce(p.grad, async_op=True))
    for work in works:
        work.wait()
    optimizer.step()
