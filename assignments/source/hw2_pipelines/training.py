"""One step of training with a loss scaler, yours or PyTorch's."""

from collections.abc import Callable

import torch
from torch import nn


def training_step(
    model: nn.Module,
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    targets: torch.Tensor,
    optimizer,
    scaler,
    max_norm: float | None = None,
) -> float:
    """Make one step, or skip it where gradients overflow, and return the loss, unscaled.

    Gradients that lie there from earlier are forgotten. With `max_norm`, the gradients of all parameters of `model`
    together are clipped to this 2-norm; it is meant for the gradients as they are without scaling. `optimizer` has
    `zero_grad()`, `step()` and `param_groups`. `scaler` has the methods of `loss_scaling.py`, which are those of
    `torch.amp.GradScaler`; its iteration ends here.
    """
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    loss = loss_fn(model(inputs), targets)
    scaler.scale(loss).backward()
    if max_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()
    ### END SOLUTION
