"""How many bytes a training step needs: the formulas, tensor by tensor, for the transformer of this week.

Everything is counted without dropout and without a fused attention kernel, as `effdl.transformer` computes it. What
the formulas say, `effdl.memory` can check: the saved tensors to the byte, the peak to some percent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from effdl import memory
from effdl.device import device
from effdl.transformer import Config, Transformer, next_token_loss, text_batch

INDEX = 8  # bytes of an int64


@dataclass(frozen=True)
class Recipe:
    """Bytes that a way of training keeps of each parameter, for the whole step."""

    weight: int
    gradient: int
    optimizer: int  # moments, and the float32 copy of the weight where there is one

    @property
    def total(self) -> int:
        """Bytes of state for each parameter."""
        return self.weight + self.gradient + self.optimizer


RECIPES = {
    "float32, SGD": Recipe(4, 4, 0),
    "float32, Adam": Recipe(4, 4, 8),
    "16-bit with float32 master weights, Adam": Recipe(2, 2, 12),  # section 3.1 of ZeRO
}


def parameters(config: Config) -> dict[str, int]:
    """Number of parameters of the embedding, of all blocks, and of the head."""
    width = config.width
    block = 12 * width**2 + 13 * width  # matrices; their biases and two norms
    return {
        "embedding": (config.vocabulary + config.length) * width,
        "blocks": config.blocks * block,
        "head": 2 * width + (width + 1) * config.vocabulary,
    }


def saved_in_block(config: Config, batch: int, length: int, element: int = 4) -> dict[str, int]:
    """Bytes of each tensor that one block keeps for its backward pass, in the order of the forward pass."""
    tokens = batch * length
    vector = tokens * config.width * element
    norm = 2 * tokens * element  # mean and reciprocal standard deviation of each token
    return {
        "input of the block, and its norm's mean and deviation": vector + norm,
        "output of the norm": vector,
        "queries, keys and values": 3 * vector,
        "which scores are masked": length * length,
        "attention weights": config.heads * tokens * length * element,
        "mixed values": vector,
        "input of the MLP, and its norm's mean and deviation": vector + norm,
        "output of the norm, before the MLP": vector,
        "before GELU": 4 * vector,
        "after GELU": 4 * vector,
    }


def saved(config: Config, batch: int, length: int, element: int = 4) -> dict[str, int]:
    """Bytes that autograd keeps of one forward pass with loss: of the embedding, of all blocks, of head and loss."""
    tokens = batch * length
    head = 2 * tokens * config.width + 2 * tokens + tokens * config.vocabulary + 1
    return {
        "embedding": INDEX * (tokens + length),
        "blocks": config.blocks * sum(saved_in_block(config, batch, length, element).values()),
        "head and loss": element * head + INDEX * tokens,
    }


def peak(config: Config, batch: int, length: int) -> int:
    """Bytes at the worst moment of a float32 step with Adam whose gradients begin as None.

    Activations go while gradients come, so the peak is not their sum: it is the largest of the moments at which
    backward enters a block, or at which the optimizer steps with all gradients and no activations.
    """
    count, kept = parameters(config), saved(config, batch, length)
    in_block = kept["blocks"] // config.blocks
    vector, scores = 4 * batch * length * config.width, 4 * config.heads * batch * length**2
    # At GELU, or at the softmax: gradients in flight, less what this block's backward has let go by then.
    work = max(5 * vector, 2 * scores - 8 * vector)
    weights = sum(count.values())
    moments = [4 * weights]
    for blocks in range(1, config.blocks + 1):
        done = count["head"] + (config.blocks - blocks) * count["blocks"] // config.blocks
        moments.append(kept["embedding"] + blocks * in_block + work + 4 * done)
    moments.append(sum(kept.values()) + 2 * 4 * batch * length * config.vocabulary)
    return 12 * weights + max(moments)


def parts_of_peak(config: Config, batch: int) -> dict[str, float]:
    """The peak of a step with Adam in MB, by kind. Gradients and activations share a part: one comes as one goes."""
    weights = sum(parameters(config).values())
    rest = peak(config, batch, config.length) - 12 * weights
    megabytes = {"parameters": 4 * weights, "Adam": 8 * weights, "gradients and activations": rest}
    return {name: nbytes / 1e6 for name, nbytes in megabytes.items()}


def flops(config: Config, length: int) -> dict[str, float]:
    """Floating-point operations of one block's forward pass per token: its matrices, its attention over `length`."""
    return {"matrices": 24.0 * config.width**2, "attention": 4.0 * length * config.width}


# ---------------------------------------------------------------------------------------------------------------
# What is measured
# ---------------------------------------------------------------------------------------------------------------


class Adam:
    """Adam for the tensors of a list, each step in place. Kingma & Ba, ICLR 2015."""

    def __init__(self, parameters: list[torch.Tensor], lr: float = 1e-3):
        self.parameters, self.lr, self.steps = parameters, lr, 0
        self.state = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Update each parameter by its gradient."""
        self.steps += 1
        for parameter, (mean, square) in zip(self.parameters, self.state, strict=True):
            update(parameter, parameter.grad, mean, square, self.steps, self.lr)


def update(
    weight: torch.Tensor,
    gradient: torch.Tensor,
    mean: torch.Tensor,
    square: torch.Tensor,
    step: int,
    lr: float,
) -> None:
    """One step of Adam (beta 0.9 and 0.999, eps 1e-8) on tensors of one shape, in place. `step` counts from 1."""
    mean.lerp_(gradient, 0.1)
    square.lerp_(gradient.square(), 0.001)
    size = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
    weight.addcdiv_(mean, size, value=-lr / (1 - 0.9**step))


def training_run(config: Config, batch: int, steps: int = 2) -> tuple[Transformer, Adam]:
    """Make a model and its optimizer, and train it: a function whose whole memory can be measured."""
    model = Transformer(config).to(device())
    optimizer = Adam(list(model.parameters()))
    for step in range(steps):
        tokens, targets = (tensor.to(device()) for tensor in text_batch(step, batch, config.length))
        next_token_loss(model(tokens), targets).backward()
        optimizer.step()
        for parameter in model.parameters():
            parameter.grad = None
    return model, optimizer


def measured_peak(config: Config, batch: int) -> float:
    """Peak of making a model and training it for two steps, in MB."""
    training_run(config, batch, 1)  # what first calls leave behind is none of it
    return memory.measure(training_run, config, batch).peak / 1e6


def measured_saved(config: Config, batch: int) -> int:
    """Bytes of the distinct tensors that autograd keeps of one forward pass, besides the parameters."""
    model = Transformer(config).to(device())
    tokens, targets = (tensor.to(device()) for tensor in text_batch(0, batch, config.length))
    with memory.saved_tensors(besides=model.parameters()) as kept:
        loss = next_token_loss(model(tokens), targets)
    del loss
    return kept.bytes


def alive(function: Callable[[], Any], kind: str = "") -> list[int]:
    """Bytes alive after each allocation and release of a call, above what was there before it.

    `kind` is "cpu" or "cuda", by default that of the device in use. Raises RuntimeError if nothing was allocated.
    """
    # torch.profiler records the same, and imports PyTorch's compiler first: a second and a half in a fresh rank.
    with torch.autograd.profiler.profile(profile_memory=True) as profiler:
        kept = function()
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    del kept
    here = kind or device().type
    events = [event for event in events if event.device_type().name.lower() == here]
    if not events:
        raise RuntimeError(f"the profiler saw no allocation on {here}; let the function allocate there")
    events.sort(key=lambda event: event.start_ns())
    return torch.tensor([event.nbytes() for event in events]).cumsum(0).tolist()
