"""One optimizer step over several micro-batches on several ranks, with one exchange of gradients."""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import nn


def accumulated_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    micro_batches: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """Make the optimizer step that one process would make on all samples of all ranks at once.

    `model` is the same on every rank. `loss_fn(model(inputs), targets)` returns the mean loss over the samples
    of a micro-batch (inputs [b, ...], targets [b, ...]). The number of micro-batches and their sizes b may
    differ, on one rank and between ranks. Gradients left over from an earlier step are dropped. All gradients
    travel once per call, after the last backward pass.
    """
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    samples = 0
    for inputs, targets in micro_batches:
        # Back from the mean to the sum: micro-batches of different sizes weigh by their samples.
        (loss_fn(model(inputs), targets) * len(targets)).backward()
        samples += len(targets)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    # The number of samples travels with the gradients, so that one all-reduce is enough.
    count = parameters[0].new_tensor([samples])
    flat = torch.cat([*(parameter.grad.flatten() for parameter in parameters), count])
    dist.all_reduce(flat)
    means = flat[:-1] / flat[-1]
    for parameter, mean in zip(parameters, means.split([p.numel() for p in parameters]), strict=True):
        parameter.grad.copy_(mean.view_as(parameter))
    optimizer.step()
    ### END SOLUTION
