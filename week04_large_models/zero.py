"""ZeRO's three stages, and none, in one training loop: who keeps which part of weights, gradients and Adam's moments.

Data parallelism keeps everything on every rank. Stage 1 divides the moments, stage 2 the gradients as well, stage 3
the weights too. Rajbhandari, Rasley, Ruwase & He, ZeRO: memory optimizations toward training trillion parameter
models, SC 2020.

The loop goes through the modules one by one and computes each again in its backward pass (`plans.every`), so that a
module's weights are needed in two short visits, and one sees where each message is sent.
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from effdl import launch
from effdl.transformer import Config, Transformer, text_batch
from week04_large_models.calculator import RECIPES, Recipe, parameters, update
from week04_large_models.traffic import Collectives, Sockets

STAGES = (0, 1, 2, 3)
LEARNING_RATE = 1e-3


def state_bytes(stage: int, ranks: int, recipe: Recipe = RECIPES["float32, Adam"]) -> float:
    """Bytes of state that a rank keeps of each parameter of the model. Raises ValueError for an unknown stage."""
    if stage not in STAGES:
        raise ValueError(f"ZeRO has the stages 0 (plain data parallelism) to 3, not {stage}")
    parts = (recipe.optimizer, recipe.gradient, recipe.weight)
    return sum(part / ranks if stage > place else part for place, part in enumerate(parts))


def traffic(stage: int, ranks: int) -> float:
    """What a rank sends in one step, in units of all weights: a scatter and a gather; stage 3 gathers twice."""
    return (3 if stage == 3 else 2) * (ranks - 1) / ranks


class Part:
    """One module's weights as a flat vector, its gradient and Adam's moments: whole, or this rank's n-th of them."""

    def __init__(self, module: nn.Module, stage: int):
        self.module, self.stage = module, stage
        self.world, self.rank = dist.get_world_size(), dist.get_rank()
        self.slots = [(m, name, p) for m in module.modules() for name, p in m.named_parameters(recurse=False)]
        flat = torch.cat([p.detach().flatten() for _, _, p in self.slots])
        flat = F.pad(flat, (0, -len(flat) % self.world))
        self.shapes = [(owner, name, p.shape) for owner, name, p in self.slots]
        for owner, name, _ in self.slots:
            del owner._parameters[name]  # what remains of the weights is the vector
        del self.slots
        self.weights = self.mine(flat).clone() if stage >= 3 else flat
        self.gradient: torch.Tensor | None = None
        moments = self.mine(flat) if stage >= 1 else flat
        self.mean, self.square = torch.zeros_like(moments), torch.zeros_like(moments)

    def mine(self, flat: torch.Tensor) -> torch.Tensor:
        """This rank's part of a whole vector."""
        return flat.chunk(self.world)[self.rank]

    def whole(self, part: torch.Tensor) -> torch.Tensor:
        """All ranks' parts as one vector."""
        flat = part.new_empty(len(part) * self.world)
        dist.all_gather(list(flat.chunk(self.world)), part)
        return flat

    def visit(self) -> torch.Tensor:
        """The whole weights, for one use of the module: its parameters are views of the vector that is returned."""
        flat = self.whole(self.weights) if self.stage >= 3 else self.weights.detach()
        flat.requires_grad_(torch.is_grad_enabled())
        sizes = [shape.numel() for _, _, shape in self.shapes]
        pieces = flat[: sum(sizes)].split(sizes)
        for (owner, name, shape), piece in zip(self.shapes, pieces, strict=True):
            setattr(owner, name, piece.view(shape))
        return flat

    def leave(self) -> None:
        """Forget the views: in stage 3 the whole weights go with them."""
        for owner, name, _ in self.shapes:
            delattr(owner, name)

    def take(self, gradient: torch.Tensor) -> None:
        """Average a module's whole gradient over the ranks, and keep of it what the stage says."""
        if self.stage >= 2:
            self.gradient = torch.empty_like(self.mine(gradient))
            dist.reduce_scatter(self.gradient, list(gradient.chunk(self.world)))
        else:
            self.gradient = gradient
            if self.stage == 0:
                dist.all_reduce(gradient)
            else:
                # The sum is complete in this rank's part only: nobody else will look at it.
                dist.reduce_scatter(
                    self.mine(gradient), [part.clone() for part in gradient.chunk(self.world)]
                )
        self.gradient /= self.world

    def step(self, number: int) -> None:
        """Adam on the part that this rank has moments for; then, if weights are whole, the other ranks' parts."""
        weights = self.mine(self.weights) if self.stage in (1, 2) else self.weights
        gradient = self.mine(self.gradient) if self.stage == 1 else self.gradient
        update(weights, gradient, self.mean, self.square, number, LEARNING_RATE)
        if self.stage in (1, 2):
            dist.all_gather(list(self.weights.chunk(self.world)), weights.clone())


class Training:
    """Adam over a chain of modules on all ranks, with the state divided as a stage of ZeRO says."""

    def __init__(self, chain: Sequence[nn.Module], stage: int):
        self.parts = [Part(module, stage) for module in chain]
        self.steps = 0

    def step(self, tokens: torch.Tensor, targets: torch.Tensor) -> float:
        """One step on this rank's tokens and targets (batch, length); returns this rank's loss in nats."""
        inputs, x = [], tokens
        with torch.no_grad():
            for part in self.parts[:-1]:
                inputs.append(x)
                part.visit()
                x = part.module(x)
                part.leave()
        inputs.append(x)
        gradient = None
        for part in reversed(self.parts):
            x = inputs.pop()
            x = x.detach().requires_grad_(x.is_floating_point())
            flat = part.visit()
            y = part.module(x)
            if gradient is None:
                loss = y = F.cross_entropy(y.flatten(0, 1), targets.flatten())
            else:
                # The same derivative; given a gradient, backward() imports a second's worth of PyTorch.
                y = (y * gradient).sum()
            y.backward()
            gradient = x.grad
            part.take(flat.grad)
            part.leave()
            del flat, y
        self.steps += 1
        for part in self.parts:
            part.step(self.steps)
        return loss.item()

    def weights(self) -> torch.Tensor:
        """All weights, module after module, with their padding; the same on every rank."""
        return torch.cat([p.whole(p.weights) if p.stage >= 3 else p.weights for p in self.parts])


def train(config: Config, stage: int, batch: int, steps: int) -> Training:
    """Train on text; each rank takes its part of every batch. The gradients of the last step are still there.

    Raises ValueError for a batch that the ranks cannot share equally: a mean of means would be another mean.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    if batch % world:
        raise ValueError(f"a batch of {batch} does not divide among {world} ranks")
    training = Training(Transformer(config).chain, stage)
    for step in range(steps):
        tokens, targets = text_batch(step, batch, config.length)
        training.step(tokens.chunk(world)[rank], targets.chunk(world)[rank])
    return training


@dataclass(frozen=True)
class Found:
    """What was counted on ranks, by stage and by number of ranks; of the ranks, the one with the most."""

    kept: dict[int, dict[int, float]]  # bytes of state for each parameter
    sent: dict[int, dict[int, float]]  # bytes that sockets sent in a step, over those of all weights
    formula: dict[int, dict[int, float]]  # the same by the formulas of week 3
    apart: float  # largest difference of a weight from that of stage 0


def compare(config: Config, worlds: Sequence[int], batch: int) -> Found:
    """Train for a step at every stage, on several numbers of ranks."""
    runs = {world: launch.run(stages_on_rank, world, args=(config, batch, 1)) for world in worlds}
    count = sum(parameters(config).values())
    kept, sent, formula = (
        {
            stage: {world: max(found[stage][place] for found in runs[world]) / unit for world in worlds}
            for stage in STAGES
        }
        for place, unit in ((0, count), (1, 4 * count), (2, 4 * count))
    )
    ranks = [found for run in runs.values() for found in run]
    apart = max((rank[s][3] - rank[0][3]).abs().max().item() for rank in ranks for s in STAGES)
    return Found(kept, sent, formula, apart)


def tensor_bytes() -> int:
    """Bytes of all tensors that Python can reach and that are younger than the last `gc.freeze`."""
    gc.collect()
    kinds = (torch.Tensor, nn.Parameter)
    storages = [t.untyped_storage() for t in gc.get_objects() if type(t) in kinds]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def stages_on_rank(
    config: Config, batch: int, steps: int
) -> dict[int, tuple[int, float, float, torch.Tensor]]:
    """For each stage: bytes of tensors between backward pass and next step; bytes sent in a step, by the sockets and
    by formula; all weights.
    """
    found = {}
    text_batch(0, batch, config.length)  # it stays in memory: let it not count for the first stage
    gc.freeze()
    for stage in STAGES:
        with Sockets() as wire, Collectives() as calls:
            training = train(config, stage, batch, steps)
        time.sleep(0.05)  # gloo's threads let go of what they sent a moment after it has arrived
        sent, formula = wire.sent / steps, calls.by_formula / steps
        found[stage] = tensor_bytes(), sent, formula, training.weights()
        del training
        gc.freeze()  # the weights that are to be returned
    gc.unfreeze()
    return found
