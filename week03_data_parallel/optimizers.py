"""Optimizers from their papers, plainly: what they remember of each parameter, and what they do with it."""

from collections.abc import Iterable

import torch
from torch import nn


class Optimizer:
    """Holds the parameters and one dictionary of tensors for each. A subclass writes `update`."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0):
        self.parameters, self.lr, self.weight_decay = list(parameters), lr, weight_decay
        self.state: list[dict[str, torch.Tensor]] = [{} for _ in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        self.steps += 1
        for parameter, state in zip(self.parameters, self.state, strict=True):
            if parameter.grad is not None:
                self.update(parameter, parameter.grad, state)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_bytes(self) -> int:
        """Bytes that the optimizer remembers."""
        return sum(tensor.nbytes for state in self.state for tensor in state.values())

    def memory(self, state: dict, name: str, like: torch.Tensor) -> torch.Tensor:
        """The tensor `name` of one parameter, zeros at first."""
        return state.setdefault(name, torch.zeros_like(like))

    def update(self, w: torch.Tensor, g: torch.Tensor, state: dict) -> None:
        """Change `w` in place, given its gradient `g`."""
        raise NotImplementedError


class SGD(Optimizer):
    """One step against the gradient. Remembers nothing."""

    def update(self, w, g, state):
        """See `Optimizer`."""
        w -= self.lr * g


class Momentum(Optimizer):
    """The gradient accelerates a velocity (Polyak 1964), in the form that PyTorch uses."""

    decay = 0.9

    def update(self, w, g, state):
        """See `Optimizer`."""
        velocity = self.memory(state, "velocity", w)
        velocity.mul_(self.decay).add_(g)
        w -= self.lr * velocity


class AdaGrad(Optimizer):
    """Each element's step shrinks with the sum of its squared gradients (Duchi, Hazan & Singer 2011)."""

    def update(self, w, g, state):
        """See `Optimizer`."""
        squares = self.memory(state, "squares", w)
        squares += g * g
        w -= self.lr * g / (squares.sqrt() + 1e-10)


class RMSProp(Optimizer):
    """As AdaGrad, with a moving average in place of the sum (Tieleman & Hinton 2012)."""

    def update(self, w, g, state):
        """See `Optimizer`."""
        squares = self.memory(state, "squares", w)
        squares.mul_(0.99).add_(g * g, alpha=0.01)
        w -= self.lr * g / (squares.sqrt() + 1e-8)


class AdaDelta(Optimizer):
    """RMSProp whose step has the size of the last changes, so that it has the weights' unit (Zeiler 2012)."""

    decay, eps = 0.9, 1e-6

    def update(self, w, g, state):
        """See `Optimizer`."""
        squares, changes = self.memory(state, "squares", w), self.memory(state, "changes", w)
        squares.mul_(self.decay).add_(g * g, alpha=1 - self.decay)
        step = (changes + self.eps).sqrt() / (squares + self.eps).sqrt() * g
        changes.mul_(self.decay).add_(step * step, alpha=1 - self.decay)
        w -= self.lr * step


class Adam(Optimizer):
    """Momentum and RMSProp, both corrected for their start at zero (Kingma & Ba 2015)."""

    decay, square_decay, eps = 0.9, 0.999, 1e-8

    def direction(self, w, g, state):
        """The step before it is scaled by the learning rate."""
        mean, squares = self.memory(state, "mean", w), self.memory(state, "squares", w)
        mean.lerp_(g, 1 - self.decay)
        squares.mul_(self.square_decay).add_(g * g, alpha=1 - self.square_decay)
        first = mean / (1 - self.decay**self.steps)
        second = squares / (1 - self.square_decay**self.steps)
        return first / (second.sqrt() + self.eps)

    def update(self, w, g, state):
        """See `Optimizer`."""
        w -= self.lr * self.direction(w, g, state)


class AdamW(Adam):
    """Adam that shrinks the weights beside its step, not through the gradient (Loshchilov & Hutter 2019).

    Through the gradient, a weight whose gradients are large would be shrunk less: its decay is divided by their size.
    """

    def update(self, w, g, state):
        """See `Optimizer`."""
        w *= 1 - self.lr * self.weight_decay
        super().update(w, g, state)


def trust_ratio(w: torch.Tensor, step: torch.Tensor) -> float:
    """||w|| / ||step||, so that a layer moves by a share of its own length; 1 where either is zero."""
    lengths = float(w.norm()), float(step.norm())
    return lengths[0] / lengths[1] if min(lengths) > 0 else 1.0


class LARS(Momentum):
    """Momentum whose gradient is scaled, layer by layer, to the length of the weights.

    You, Gitman & Ginsburg, Large batch training of convolutional networks, 2017. Vectors (biases) are not scaled.
    """

    def update(self, w, g, state):
        """See `Optimizer`."""
        g = g + self.weight_decay * w
        if w.dim() > 1:
            g = g * trust_ratio(w, g)
        super().update(w, g, state)


class LAMB(Adam):
    """Adam whose step is scaled, layer by layer, to the length of the weights (You et al., ICLR 2020)."""

    def update(self, w, g, state):
        """See `Optimizer`."""
        step = self.direction(w, g, state) + self.weight_decay * w
        w -= self.lr * (trust_ratio(w, step) if w.dim() > 1 else 1.0) * step


ALL: dict[str, type[Optimizer]] = {
    "SGD": SGD,
    "momentum": Momentum,
    "AdaGrad": AdaGrad,
    "RMSProp": RMSProp,
    "AdaDelta": AdaDelta,
    "Adam": Adam,
    "AdamW": AdamW,
    "LARS": LARS,
    "LAMB": LAMB,
}
"""The optimizers by name."""
