"""A small training package: what projects write again and again, and where real bugs were found.

Every function here has had a bug in somebody's public repository: `bugs.toml` names the threads.
"""

import copy
import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

IGNORE = -100
"""The target of a token that is padding."""


def token_loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy over the targets that are not IGNORE; (..., classes) and (...) int64 to a scalar.

    With smoothing s a target has the probability 1 - s, and s is shared by all classes alike.
    """
    logs = logits.log_softmax(-1)
    kept = targets != IGNORE
    right = logs.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    losses = -(1 - smoothing) * right - smoothing * logs.mean(-1)
    return (losses * kept).sum() / kept.sum()


def attention(query, key, value, real: torch.Tensor | None = None) -> torch.Tensor:
    """Causal attention, three times (batch, length, size); `real` (batch, length) bool is False for padding."""
    length, size = query.shape[-2:]
    scores = query @ key.transpose(-2, -1) / math.sqrt(size)
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    if real is not None:
        hidden = hidden | ~real.unsqueeze(-2)
    weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
    return weights @ value


def learning_rate(step: int, peak: float, warmup: int, total: int, floor: float = 0.0) -> float:
    """Linear warm-up, then half a cosine. Updates count from 0; the last of the warm-up has the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2


def clip(gradients: Sequence[torch.Tensor], longest: float) -> float:
    """Scale all gradients in place, so that their common norm is at most `longest`; returns the norm before."""
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    if norm > longest:
        for gradient in gradients:
            gradient.mul_(longest / norm)
    return norm


class Adam:
    """Adam with decoupled weight decay (Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019)."""

    def __init__(self, parameters, betas=(0.9, 0.999), eps: float = 1e-8, decay: float = 0.0):
        self.parameters, self.betas, self.eps, self.decay = list(parameters), betas, eps, decay
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.count = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update of every parameter that has a gradient."""
        self.count += 1
        one, two = self.betas
        for p, first, second in zip(self.parameters, self.first, self.second, strict=True):
            first.mul_(one).add_(p.grad, alpha=1 - one)
            second.mul_(two).addcmul_(p.grad, p.grad, value=1 - two)
            mean, square = first / (1 - one**self.count), second / (1 - two**self.count)
            p.mul_(1 - rate * self.decay)
            p.sub_(rate * mean / (square.sqrt() + self.eps))


def order(examples: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of the examples in an epoch: the same in every run, another in every epoch."""
    return torch.randperm(examples, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))


def batches(examples: int, size: int) -> Iterator[slice]:
    """Slices that cover all examples once; the last may be shorter."""
    start = 0
    while start < examples:
        yield slice(start, min(start + size, examples))
        start += size


def flip(image: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left to right: an image (..., width) and its boxes (n, 4), whose edges are (x1, y1, x2, y2) with x1 <= x2."""
    width = image.shape[-1]
    turned = boxes.clone()
    turned[:, 0] = width - boxes[:, 2]
    turned[:, 2] = width - boxes[:, 0]
    return image.flip(-1), turned


class Average:
    """A moving average of a model's weights, slower as it gets older; buffers are copied, not averaged."""

    def __init__(self, model: nn.Module, decay: float = 0.999):
        self.model, self.decay, self.count = copy.deepcopy(model), decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present weights."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        for mine, theirs in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.sub_((1 - decay) * (mine - theirs))
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)


class Best:
    """Early stopping that keeps the best weights."""

    def __init__(self, patience: int):
        self.patience, self.loss, self.weights, self.waited = patience, math.inf, {}, 0

    def stop(self, loss: float, model: nn.Module) -> bool:
        """Take in an epoch's loss; True if `patience` epochs in a row brought no better one."""
        if loss < self.loss:
            self.loss, self.waited = loss, 0
            self.weights = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience


def evaluate(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, size: int = 64) -> float:
    """Share of right answers, in batches, without dropout; the model's mode afterwards is that of before."""
    before, right = model.training, 0
    model.eval()
    with torch.no_grad():
        for part in batches(len(inputs), size):
            right += int((model(inputs[part]).argmax(-1) == targets[part]).sum())
    model.train(before)
    return right / len(inputs)


def update(
    model, optimiser: Adam, parts, rate: float, longest: float = math.inf, scale: float = 1.0
) -> float:
    """One update from several micro-batches: that of one large batch, whatever their padding. Returns its loss.

    `parts` is a list of (inputs, targets). The loss is multiplied by `scale` for the backward pass alone.
    """
    tokens = sum(int((targets != IGNORE).sum()) for _, targets in parts)
    for p in optimiser.parameters:
        p.grad = None
    total = 0.0
    for inputs, targets in parts:
        loss = token_loss(model(inputs), targets) * (targets != IGNORE).sum() / tokens
        (loss * scale).backward()
        total += loss.item()
    for p in optimiser.parameters:
        p.grad.div_(scale)
    clip([p.grad for p in optimiser.parameters], longest)
    optimiser.step(rate)
    return total


def train(model, inputs, targets, *, updates: int, size: int, peak: float, seed: int = 0) -> list[float]:
    """Train for a number of updates, in a new order in each epoch; returns the losses."""
    model.train()
    optimiser, losses, epoch = Adam(model.parameters()), [], 0
    while len(losses) < updates:
        shuffled = order(len(inputs), seed, epoch)
        for part in batches(len(inputs), size):
            if len(losses) < updates:
                rate = learning_rate(len(losses), peak, max(updates // 10, 1), updates)
                chosen = shuffled[part]
                losses.append(update(model, optimiser, [(inputs[chosen], targets[chosen])], rate))
        epoch += 1
    return losses
