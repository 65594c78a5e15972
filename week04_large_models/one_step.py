"""One training step whose activations are kept, computed again, or moved away: gradients and bytes."""

import functools
from collections.abc import Callable, Mapping

import torch
import torch.utils.checkpoint
from torch import nn

from effdl import memory
from effdl.bench import Comparison, compare
from effdl.transformer import Transformer, next_token_loss, text_batch
from week04_large_models.checkpoint import checkpoint
from week04_large_models.offload import Disk, Host, offload

Loss = Callable[[Transformer, torch.Tensor, torch.Tensor], torch.Tensor]


def kept(model: Transformer, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss, with everything kept that autograd wants to keep."""
    return next_token_loss(model(tokens), targets)


def by_blocks(run: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> Loss:
    """The loss, with `run(block, x)` in place of `block(x)`."""

    def loss(model: Transformer, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = model.embedding(tokens)
        for block in model.blocks:
            x = run(block, x)
        return next_token_loss(model.head(x), targets)

    return loss


recomputed = by_blocks(checkpoint)
with_another_mask = by_blocks(lambda block, x: checkpoint(block, x, random_state=False))
recomputed_by_pytorch = by_blocks(
    lambda block, x: torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
)


def moved(store: Disk | Host) -> Loss:
    """The loss, with the saved tensors in `store` until backward needs them."""

    def loss(model: Transformer, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with offload(store, besides=model.parameters()):
            return kept(model, tokens, targets)

    return loss


def batch(model: Transformer, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and targets of a batch, on the model's device."""
    device = model.head.logits.weight.device
    tokens, targets = text_batch(0, size, model.config.length)
    return tokens.to(device), targets.to(device)


def gradients(model: Transformer, loss: Loss, size: int) -> list[torch.Tensor]:
    """The gradients of one step; each call starts from the same random state."""
    model.zero_grad()
    torch.manual_seed(0)
    loss(model, *batch(model, size)).backward()
    return [p.grad for p in model.parameters()]


def difference(model: Transformer, loss: Loss, size: int) -> float:
    """The largest difference between the gradients of a step and those of a step that keeps everything."""
    pairs = zip(gradients(model, loss, size), gradients(model, kept, size), strict=True)
    return float(max((a - b).abs().max() for a, b in pairs))


def used(model: Transformer, loss: Loss, size: int) -> tuple[int, int]:
    """Bytes that are alive between forward and backward, and bytes at the worst moment of the step."""
    tokens, targets = batch(model, size)
    model.zero_grad()
    between = memory.measure(loss, model, tokens, targets).kept
    return between, memory.measure(lambda: loss(model, tokens, targets).backward()).peak


def timed(model: Transformer, ways: Mapping[str, Loss], size: int) -> Comparison:
    """Times of one step's gradients in each way, in turns."""
    steps = {name: functools.partial(gradients, model, loss, size) for name, loss in ways.items()}
    return compare(steps, pairs=6, warmup=1)


def saved_shapes(block: nn.Module, x: torch.Tensor) -> list[tuple[str, tuple[int, ...], bool]]:
    """What autograd saves in a block: dtype, shape, and whether it is a parameter."""
    parameters = {p.data_ptr() for p in block.parameters()}
    found = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        name = str(tensor.dtype).removeprefix("torch.")
        found.append((name, tuple(tensor.shape), tensor.data_ptr() in parameters))
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        block(x)
    return found
