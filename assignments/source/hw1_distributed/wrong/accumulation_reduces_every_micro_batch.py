# replaces: accumulation.py
# caught by: accumulation_communicates_once
# mistake: exchanges the gradients of every micro-batch
# needs: namespaces, without which nobody counts what the ranks send
import torch
import torch.distributed as dist


def accumulated_step(model, optimizer, loss_fn, micro_batches):
    optimizer.zero_grad()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    samples = torch.zeros(1)
    for inputs, targets in micro_batches:
        loss = loss_fn(model(inputs), targets) * len(targets)
        for total, gradient in zip(sums, torch.autograd.grad(loss, parameters), strict=True):
            dist.all_reduce(gradient)
            total += gradient
        samples += len(targets)
    dist.all_reduce(samples)
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total / samples
    optimizer.step()
