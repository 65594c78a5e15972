"""Operations and bytes of a training step: by formula, by hooks, by PyTorch's counters; and MFU from them.

A multiply-add counts as two operations, as everywhere in this course. Only matrix products count: all else is a
matter of bytes.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from effdl.device import device
from effdl.transformer import Attention, Config, Transformer, next_token_loss

# ---- operations


def by_formula(config: Config, batch: int, length: int) -> int:
    """Operations of a forward pass: 24 w**2 + 4 l w for a token in a block, and 2 w v in the head.

    Scores above the diagonal count too: attention that is written out computes them.
    """
    block = 24 * config.width**2 + 4 * length * config.width
    return batch * length * (config.blocks * block + 2 * config.width * config.vocabulary)


def by_hooks(model: Transformer, tokens: Tensor) -> int:
    """Operations of a forward pass, added up by a hook on each linear layer and each attention."""
    total = 0

    def linear(module: nn.Linear, inputs: tuple[Tensor], _output: Tensor) -> None:
        nonlocal total
        total += 2 * module.weight.numel() * (inputs[0].numel() // module.in_features)

    def attention(_module: Attention, inputs: tuple[Tensor], _output: Tensor) -> None:
        nonlocal total
        batch, length, width = inputs[0].shape
        total += 2 * (2 * batch * length**2 * width)  # scores, and their product with the values

    visitors = {nn.Linear: linear, Attention: attention}
    hooks = [m.register_forward_hook(visitors[type(m)]) for m in model.modules() if type(m) in visitors]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return total


def by_counter(run: Callable[[], Any]) -> int:
    """Operations of all that `run` does, backward passes too, as `torch.utils.flop_counter` counts them."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def forward_backward(
    model: Transformer,
    tokens: Tensor,
    targets: Tensor,
    checkpointed: bool = False,
    half: torch.dtype | None = None,
) -> Tensor:
    """One forward and backward pass, blocks checkpointed if asked, under autocast to `half`; returns the loss."""
    with torch.autocast(tokens.device.type, dtype=half) if half else contextlib.nullcontext():
        x = tokens
        for module in model.chain:
            again = checkpointed and module in list(model.blocks)
            x = checkpoint(module, x, use_reentrant=False) if again else module(x)
        loss = next_token_loss(x, targets)
    loss.backward()
    return loss


def counted_without_memory(config: Config, batch: int) -> tuple[int, int]:
    """Operations of forward and backward, and number of parameters, of a model that only has shapes.

    On PyTorch's "meta" device no number is stored or computed, so the model may be of any size.
    """
    with torch.device("meta"):
        model = Transformer(config)
        tokens = torch.zeros(batch, config.length, dtype=torch.int64)
        count = by_counter(lambda: forward_backward(model, tokens, tokens))
    return count, sum(p.numel() for p in model.parameters())


# ---- bytes

WITHOUT_TRAFFIC = (
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::_unsafe_view",
)
"""What hands out memory and writes nothing, and a view that does not say that it is one."""


def _nbytes(tensors: Iterable[Any]) -> int:
    """Bytes of tensors; one that repeats its numbers (expand) counts what it holds."""
    sizes = (
        min(t.numel() * t.element_size(), t.untyped_storage().nbytes())
        for t in tensors
        if isinstance(t, Tensor)
    )
    return sum(sizes)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, each operation for itself, as if there were no cache.

    `by_name` holds bytes by the operation's name. Views move nothing.
    """

    def __init__(self):
        super().__init__()
        self.by_name: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Bytes of all operations."""
        return sum(self.by_name.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and add its bytes: all tensors that it is given, and all that it writes."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name, schema = func._schema.name, func._schema
        if not func.is_view and name not in WITHOUT_TRAFFIC:
            moved = _nbytes(tree_leaves((args, kwargs)))
            if schema.returns:
                moved += _nbytes(tree_leaves(result))
            else:  # in place, on lists: what it writes is among the arguments
                for argument, value in zip(schema.arguments, args, strict=False):
                    if argument.alias_info is not None and argument.alias_info.is_write:
                        moved += _nbytes(tree_leaves(value))
            self.by_name[name] = self.by_name.get(name, 0) + moved
        return result


def traffic(run: Callable[[], Any]) -> Traffic:
    """The bytes of what `run` does."""
    with Traffic() as counter:
        run()
    return counter


def adam_bytes(parameters: int) -> int:
    """Bytes of an AdamW step in float32 that reads weight, gradient and two moments once, and writes all but one."""
    return (4 + 3) * 4 * parameters


def optimizer_traffic(model: nn.Module, **options: Any) -> float:
    """Bytes that the second step of AdamW moves for each parameter (the first one makes the moments)."""
    optimizer = torch.optim.AdamW(model.parameters(), **options)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    return traffic(optimizer.step).total / sum(p.numel() for p in model.parameters())


def adam_step(count: int = 4, size: int = 2**20, **options: Any) -> Callable[[], Any]:
    """A step of AdamW on `count` parameters of `size` float32 numbers each, ready to be timed."""
    parameters = [nn.Parameter(torch.ones(size, device=device())) for _ in range(count)]
    for p in parameters:
        p.grad = torch.ones_like(p)
    return torch.optim.AdamW(parameters, **options).step


# ---- from which number of rows a product is bound by arithmetic


@dataclass(frozen=True)
class Chip:
    """A device by its maker's numbers: operations per second by format, without sparsity, and bytes per second."""

    name: str
    flops: dict[str, float]
    bandwidth: float


H100 = Chip("H100 SXM", {"fp32": 67e12, "tf32": 495e12, "bf16": 989e12, "fp8": 1979e12}, 3.35e12)
"""NVIDIA H100 data sheet; fp32 does not use tensor cores."""
BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp8": 1}


def rows_to_compute(ridge: float, nbytes: int, k: float = math.inf, n: float = math.inf) -> float:
    """From how many rows m on (m, k) times (k, n) takes longer to compute than to move.

    Args:
        ridge: operations per byte that the device can do.
        nbytes: of a number.
        k, n: inner and outer width; without them, the limit for wide layers.

    Returns: m with 2 m k n = ridge * nbytes * (m k + k n + m n); infinite where no m is enough.
    """
    per_row = 2 / nbytes / ridge - 1 / k - 1 / n
    return 1 / per_row if per_row > 0 else math.inf
