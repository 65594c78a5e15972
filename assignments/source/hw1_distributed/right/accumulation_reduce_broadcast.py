# replaces: accumulation.py
# method: sums kept in tensors of their own by autograd.grad, reduced to rank 0, divided there and broadcast
import torch
import torch.distributed as dist
from torch.nn.utils import parameters_to_vector, vector_to_parameters


def accumulated_step(model, optimizer, loss_fn, micro_batches):
    optimizer.zero_grad()
    params = [p for p in model.parameters() if p.requires_grad]
    sums = [torch.zeros_like(p) for p in params]
    used = torch.zeros(len(params))
    count = 0
    for x, y in micro_batches:
        loss = loss_fn(model(x), y)
        for i, grad in enumerate(torch.autograd.grad(loss, params, allow_unused=True)):
            if grad is not None:
                sums[i] += grad * x.shape[0]
                used[i] = 1
        count += x.shape[0]

    message = torch.cat([parameters_to_vector(sums), used, torch.tensor([float(count)])])
    dist.reduce(message, dst=0)
    if dist.get_rank() == 0:
        message[: -len(params) - 1] /= message[-1]
    dist.broadcast(message, src=0)
    vector_to_parameters(message[: -len(params) - 1], sums)
    for p, grad, anyone in zip(params, sums, message[-len(params) - 1 : -1], strict=True):
        p.grad = grad if anyone else None
    optimizer.step()
