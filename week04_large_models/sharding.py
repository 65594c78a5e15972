"""Fully sharded data parallelism: between their moments of use, each rank keeps a part of all weights.

A unit (here: a block) has all its weights in one flat vector. `gather` fills the vector from the ranks' shards,
`reshard` gives its memory back, and the gradient of the vector is summed and scattered as soon as it is complete.

Rajbhandari et al., ZeRO (stage 3), SC 2020; Zhao et al., PyTorch FSDP, VLDB 2023.
"""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import nn


class Unit:
    """The weights of one module: this rank's `shard` for good, the whole vector while it is in use.

    The vector is padded with zeros to a multiple of the number of ranks. The module's parameters become views of it,
    which have values from `gather` to `reshard`. What autograd saves of them in the forward pass are views too: a
    second `gather` fills them again before the backward pass reads them.
    """

    def __init__(self, module: nn.Module):
        found = [(m, name, p) for m in module.modules() for name, p in m.named_parameters(recurse=False)]
        # Shapes only: whoever keeps the parameters keeps all weights on every rank.
        self.slots = [(owner, name, p.shape) for owner, name, p in found]
        self.size = sum(p.numel() for _, _, p in found)
        world, rank = dist.get_world_size(), dist.get_rank()
        weights = torch.cat([p.detach().flatten() for _, _, p in found])
        self.whole = weights.new_zeros(math.ceil(self.size / world) * world)
        self.whole[: self.size] = weights
        dist.broadcast(self.whole, src=0)
        self.shard = nn.Parameter(self.whole.chunk(world)[rank].clone())
        self.whole.requires_grad_()
        for owner, name, _ in self.slots:
            delattr(owner, name)
        self.gathering: dist.Work | None = None
        self.scattering: dist.Work | None = None
        self.shard_sum: torch.Tensor | None = None  # on its way
        self.is_whole = True
        self.reshard()

    def start_gather(self) -> None:
        """Ask for the other ranks' shards, unless they are here or on their way."""
        if not self.is_whole and self.gathering is None:
            self.whole.untyped_storage().resize_(self.whole.nbytes)
            # Through .data: autograd must not take the same values for new ones.
            parts = list(self.whole.data.chunk(dist.get_world_size()))
            self.gathering = dist.all_gather(parts, self.shard.data, async_op=True)

    def gather(self) -> None:
        """Return when the vector is whole."""
        self.start_gather()
        if self.gathering is not None:
            self.gathering.wait()
            self.gathering, self.is_whole = None, True

    def attach(self) -> None:
        """Make the module's parameters views of the vector, for the forward pass that follows."""
        sizes = [shape.numel() for _, _, shape in self.slots]
        *pieces, _padding = self.whole.split([*sizes, len(self.whole) - self.size])
        for (owner, name, shape), piece in zip(self.slots, pieces, strict=True):
            setattr(owner, name, piece.view(shape))

    def reshard(self) -> None:
        """Give back the memory of the vector. The views of it keep their shapes and have no values."""
        self.whole.untyped_storage().resize_(0)
        self.is_whole = False

    def scatter_gradient(self) -> None:
        """The vector's gradient is complete: sum it over the ranks, and let this one keep its part."""
        parts = list(self.whole.grad.chunk(dist.get_world_size()))
        self.shard_sum = torch.empty_like(parts[0])
        self.scattering = dist.reduce_scatter(self.shard_sum, parts, async_op=True)
        self.reshard()

    def finish(self) -> None:
        """Wait for the sum, turn it into a mean, add it to the gradient of the shard, and free the vector's."""
        self.scattering.wait()
        self.shard_sum /= dist.get_world_size()
        self.shard.grad = self.shard_sum if self.shard.grad is None else self.shard.grad + self.shard_sum
        self.scattering = self.shard_sum = self.whole.grad = None


class FullySharded(nn.Module):
    """Wraps a module: `parameters()` are shards, and after `backward()` and `finish()` so are their gradients.

    `units` are the parts of the module in the order in which it calls them, each with one tensor as output. All
    parameters must lie in them, and every rank must use every unit. Weights are rank 0's at the start. With
    `prefetch`, a unit that begins its work asks for the weights of the next, forward and backward. Without
    `reshard_after_forward`, weights stay whole until their gradient is there (more memory, one gather less).
    """

    unit: type[Unit] = Unit

    def __init__(
        self,
        module: nn.Module,
        units: Sequence[nn.Module],
        prefetch: bool = True,
        reshard_after_forward: bool = True,
    ):
        super().__init__()
        _check(module, units)
        self.units = [self.unit(part) for part in units]
        self.shards = nn.ParameterList(unit.shard for unit in self.units)
        self.module, self.prefetch, self.reshard_after_forward = module, prefetch, reshard_after_forward
        self.most_whole = 0  # units that were whole or on their way at once
        self._scattering: Unit | None = None
        for place, part in enumerate(units):
            unit = self.units[place]
            unit.whole.register_post_accumulate_grad_hook(lambda _, unit=unit: self._gradient_ready(unit))
            part.register_forward_pre_hook(lambda *_, place=place: self._before_forward(place))
            part.register_forward_hook(lambda *args, place=place: self._after_forward(place, args[-1]))

    def forward(self, *inputs, **kwargs):
        """What the module returns."""
        return self.module(*inputs, **kwargs)

    def finish(self) -> None:
        """Wait for the last gradient. Call it between `backward()` and the optimizer's step."""
        if self._scattering is not None:
            self._scattering.finish()
            self._scattering = None
        for unit in self.units:
            # A forward pass without a backward pass left it whole, and the step will make it out of date.
            if unit.is_whole:
                unit.reshard()

    def full_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names and copies of the whole module's parameters, gathered unit by unit. All ranks must ask."""
        names = {module: name for name, module in self.module.named_modules()}
        for unit in self.units:
            unit.gather()
            unit.attach()
            for owner, name, _ in unit.slots:
                yield f"{names[owner]}.{name}", getattr(owner, name).detach().clone()
            unit.reshard()

    def _use(self, place: int, following: int) -> None:
        self.units[place].start_gather()
        if self.prefetch and 0 <= following < len(self.units):
            self.units[following].start_gather()
        whole = sum(unit.is_whole or unit.gathering is not None for unit in self.units)
        self.most_whole = max(self.most_whole, whole)
        self.units[place].gather()

    def _before_forward(self, place: int) -> None:
        self._use(place, place + 1)
        self.units[place].attach()

    def _after_forward(self, place: int, output: torch.Tensor) -> None:
        # The last unit is the first that the backward pass needs.
        if self.reshard_after_forward and (place < len(self.units) - 1 or not output.requires_grad):
            self.units[place].reshard()
        if output.requires_grad:
            output.register_hook(lambda _: self._use(place, place - 1))

    def _gradient_ready(self, unit: Unit) -> None:
        # One sum at a time: were all of them left to the end, all whole gradients would wait in memory.
        if self._scattering is not None:
            self._scattering.finish()
        unit.scatter_gradient()
        self._scattering = unit


def _check(module: nn.Module, units: Sequence[nn.Module]) -> None:
    """Raise ValueError for parameters that are in no unit or in two."""
    owned = [id(p) for unit in units for part in unit.modules() for p in part.parameters(recurse=False)]
    if len(owned) != len(set(owned)):
        raise ValueError(
            "two modules share a parameter, or a unit lies in another: this wrapper needs one owner"
        )
    left = [name for name, p in module.named_parameters() if id(p) not in owned]
    if left:
        raise ValueError(
            f"no unit holds the parameter {left[0]}: list the module that owns it among the units"
        )
