"""Adam whose state, and then whose gradients, are divided among the ranks (ZeRO stages 1 and 2).

Rajbhandari, Rasley, Ruwase & He, ZeRO: Memory Optimizations Toward Training Trillion Parameter Models (2020).
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist


def adam_update(
    parameter: torch.Tensor,
    gradient: torch.Tensor,
    mean: torch.Tensor,
    square: torch.Tensor,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Make Adam's update number `step` (1, 2, ...) on `parameter`, in place, elementwise (Kingma & Ba 2015).

    `mean` and `square` are the moving averages of gradient and squared gradient, zero before the first step. All
    four tensors have one shape. (`torch.optim.Adam` does the same, after an import that takes seconds per rank.)
    """
    mean.lerp_(gradient, 1 - betas[0])
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    spread = (square / (1 - betas[1] ** step)).sqrt_().add_(eps)
    parameter.addcdiv_(mean, spread, value=-lr / (1 - betas[0] ** step))


class ShardedAdam:
    """Adam for data-parallel training; each rank keeps 1/size of the moving averages (ZeRO stage 1).

    Parameters start out equal on all ranks and stay equal. Every rank computes gradients on its own data; a step
    is made with their mean over the ranks. Each rank updates one part of the parameters, of which it alone has
    the moving averages, and receives the other parts from the others.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        rank: int,
        size: int,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        """Keep the parameters that require a gradient, and make this rank's part of the state.

        They have one floating dtype and any shapes, also with fewer elements than there are ranks, or no dimensions.
        """
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.rank, self.size, self.steps = rank, size, 0
        self.rule = {"lr": lr, "betas": betas, "eps": eps}
        ### BEGIN SOLUTION
        # The same share of every parameter, so that all ranks have as much to do whatever the sizes are.
        self.lengths = [-(-parameter.numel() // size) for parameter in self.parameters]
        pairs = list(zip(self.parameters, self.lengths, strict=True))
        self.means = [parameter.new_zeros(length) for parameter, length in pairs]
        self.squares = [parameter.new_zeros(length) for parameter, length in pairs]
        ### END SOLUTION

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, max_norm: float | None = None) -> float:
        """Make one step with the mean of all ranks' gradients; return its norm over all parameters.

        Where the norm exceeds `max_norm`, the step is made with the mean gradient times max_norm / norm. A
        parameter without gradient counts as one with gradient zero. Each rank sends about as much as a
        reduce-scatter and an all-gather of the parameters take, and needs, beside parameters, gradients and
        its part of the state, no more memory than its part of the gradients and a few copies of one parameter.
        """
        ### BEGIN SOLUTION
        numbers = range(len(self.parameters))
        return self._update([self._mean_part(number) for number in numbers], max_norm)
        ### END SOLUTION

    ### BEGIN SOLUTION
    def _mean_part(self, number: int) -> torch.Tensor:
        """Return this rank's part of the mean gradient of one parameter: a reduce-scatter."""
        parameter, length = self.parameters[number], self.lengths[number]
        if parameter.grad is None:
            return parameter.new_zeros(length)
        mine = self._padded(parameter.grad, length)
        # Everybody sends each rank its part, (size - 1) / size of the whole, and adds up what arrives.
        received = torch.empty_like(mine)
        dist.all_to_all_single(received, mine)
        return received.view(self.size, length).sum(0).div_(self.size)

    def _update(self, gradients: list[torch.Tensor], max_norm: float | None) -> float:
        """Update this rank's parts, given their mean gradients, and fetch the other parts; return the norm."""
        self.steps += 1
        total = gradients[0].new_zeros((), dtype=torch.float64)
        for gradient in gradients:
            total += gradient.square().sum(dtype=torch.float64)
        dist.all_reduce(total)
        norm = total.sqrt().item()
        scale = 1.0 if max_norm is None or norm <= max_norm else max_norm / norm
        states = zip(self.parameters, self.lengths, gradients, self.means, self.squares, strict=True)
        for parameter, length, gradient, mean, square in states:
            whole = self._padded(parameter, length)
            part = whole[self.rank * length : (self.rank + 1) * length].clone()
            adam_update(part, gradient.mul_(scale), mean, square, step=self.steps, **self.rule)
            gathered = torch.empty_like(whole)
            dist.all_gather_into_tensor(gathered, part)
            parameter.copy_(gathered[: parameter.numel()].view_as(parameter))
        return norm

    def _padded(self, tensor: torch.Tensor, length: int) -> torch.Tensor:
        """Return the elements as a vector of size * length, zeros at its end where there are too few."""
        flat = tensor.detach().reshape(-1)
        missing = self.size * length - flat.numel()
        return flat if missing == 0 else torch.cat([flat, flat.new_zeros(missing)])

    ### END SOLUTION


class ShardedGradientAdam(ShardedAdam):
    """As `ShardedAdam`, and each rank keeps 1/size of the gradients too (ZeRO stage 2).

    As soon as backward has completed the gradient of a parameter, the ranks reduce it, each keeps its part, and
    `.grad` is dropped: hence no rank ever holds the gradients of more than a few parameters. Several backward
    passes before a step add up, as they do in `.grad`. All ranks run the same graph.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], rank: int, size: int, **rule):
        super().__init__(parameters, rank, size, **rule)
        ### BEGIN SOLUTION
        self.parts: list[torch.Tensor | None] = [None] * len(self.parameters)
        for number, parameter in enumerate(self.parameters):
            parameter.register_post_accumulate_grad_hook(lambda _, number=number: self._collect(number))
        ### END SOLUTION

    ### BEGIN SOLUTION
    @torch.no_grad()
    def _collect(self, number: int) -> None:
        part = self._mean_part(number)
        self.parameters[number].grad = None
        self.parts[number] = part if self.parts[number] is None else self.parts[number].add_(part)

    ### END SOLUTION

    def zero_grad(self) -> None:
        """Forget all gradients, also those that were reduced already."""
        ### BEGIN SOLUTION
        super().zero_grad()
        self.parts = [None] * len(self.parameters)
        ### END SOLUTION

    @torch.no_grad()
    def step(self, max_norm: float | None = None) -> float:
        """Make one step with the gradients collected during backward, and forget them; see `ShardedAdam.step`."""
        ### BEGIN SOLUTION
        pairs = zip(self.parts, self.means, strict=True)
        gradients = [torch.zeros_like(mean) if part is None else part for part, mean in pairs]
        norm = self._update(gradients, max_norm)
        self.zero_grad()
        return norm
        ### END SOLUTION
