# replaces: accumulation.py
# caught by: accumulation_communicates_once
# mistake: makes one large batch of them, which is what had no room in memory
import torch
import torch.distributed as dist


def accumulated_step(model, optimizer, loss_fn, micro_batches):
    optimizer.zero_grad()
    inputs, targets = (torch.cat(column) for column in zip(*micro_batches, strict=True))
    loss_fn(model(inputs), targets).backward()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()
    optimizer.step()
