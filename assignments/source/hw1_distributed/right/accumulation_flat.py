# replaces: accumulation.py
# method: gradients of sums; one flat all_reduce with the number of samples and who has a gradient at its end
import torch
import torch.distributed as dist


def accumulated_step(model, optimizer, loss_fn, micro_batches):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer.zero_grad(set_to_none=True)
    samples = 0
    for inputs, targets in micro_batches:
        n = len(inputs)
        (loss_fn(model(inputs), targets) * n).backward()
        samples += n

    pieces = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    has = [float(p.grad is not None) for p in parameters]
    flat = torch.cat([*pieces, pieces[0].new_tensor([*has, samples])])
    dist.all_reduce(flat)
    samples = flat[-1]
    has = flat[-1 - len(parameters) : -1]
    start = 0
    for p, anybody in zip(parameters, has, strict=True):
        if anybody > 0:
            p.grad = (flat[start : start + p.numel()] / samples).view_as(p)
        start += p.numel()
    optimizer.step()
