"""Pruning: single weights by magnitude, two of four, whole channels to a budget of MACs, and lottery tickets.

Han et al., Learning both weights and connections, NIPS 2015; Zhu and Gupta, To prune, or not to prune, ICLR workshop
2018; Mishra et al., Accelerating sparse deep neural networks, 2021; Liu et al., Rethinking the value of network
pruning, ICLR 2019; Frankle and Carbin, The lottery ticket hypothesis, ICLR 2019.
"""

import copy
import itertools
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from week08_compress_models import small_images
from week08_compress_models.distilling import Crowd, learn

Masks = dict[str, torch.Tensor]


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of convolutions and linear layers by name; biases stay out of pruning."""
    return {name: p for name, p in model.named_parameters() if p.dim() > 1}


def by_magnitude(tensors: Mapping[str, torch.Tensor], sparsity: float, everywhere: bool = True) -> Masks:
    """Masks that are False at the smallest weights: of the whole network (`everywhere`), or of each layer."""
    if everywhere:
        sizes = torch.cat([t.detach().abs().flatten() for t in tensors.values()])
        smallest = sizes.argsort()[: round(sparsity * len(sizes))]
        kept = torch.ones(len(sizes), dtype=torch.bool)
        kept[smallest] = False
        parts = kept.split([t.numel() for t in tensors.values()])
        return {name: part.view_as(t) for (name, t), part in zip(tensors.items(), parts, strict=True)}
    return {name: by_magnitude({name: t}, sparsity)[name] for name, t in tensors.items()}


def two_of_four(weight: torch.Tensor) -> torch.Tensor:
    """A mask that keeps the two largest of each four neighbours along the inputs of a row.

    Raises ValueError where the inputs of a row do not divide into fours.
    """
    rows = weight.detach().abs().flatten(1)
    if rows.shape[1] % 4:
        raise ValueError(f"2:4 needs rows whose length is a multiple of 4, not {rows.shape[1]}")
    fours = rows.view(len(rows), -1, 4)
    kept = torch.zeros_like(fours, dtype=torch.bool).scatter_(2, fours.topk(2, dim=2).indices, True)
    return kept.view_as(weight)


@torch.no_grad()
def apply(model: nn.Module, masks: Masks) -> nn.Module:
    """Set what the masks leave out to zero, in place; the model itself."""
    for name, parameter in model.named_parameters():
        if name in masks:
            parameter.mul_(masks[name])
    return model


def sparsity(tensors: Iterable[torch.Tensor]) -> float:
    """Share of zeros."""
    found = list(tensors)
    return sum(int((t == 0).sum()) for t in found) / sum(t.numel() for t in found)


def masked(model: nn.Module, masks: Masks) -> nn.Module:
    """A copy with these weights at zero."""
    return apply(copy.deepcopy(model), masks)


def tuned(model: nn.Module, masks: Masks, steps: int, seed: int) -> nn.Module:
    """The masked copy after some more training, in which what is zero stays zero."""
    pruned = masked(model, masks)
    return small_images.train(pruned, steps, seed, 3e-3, jitter=True, after=lambda _: apply(pruned, masks))


def gradually(model: nn.Module, final: float, steps: int, seed: int, every: int = 10) -> nn.Module:
    """As many steps, but sparsity grows as final · (1 - (1 - t)³), t = 1 at two thirds of the way."""
    pruned, masks = copy.deepcopy(model), {}

    def after(step: int) -> None:
        share = min(1.0, (step + 1) / (2 * steps // 3))
        if (step % every == 0 and share < 1) or not masks or step == 2 * steps // 3:
            masks.update(by_magnitude(weights(pruned), final * (1 - (1 - share) ** 3)))
        apply(pruned, masks)

    return small_images.train(pruned, steps, seed, 3e-3, jitter=True, after=after)


# Channels to a budget -------------------------------------------------------------------------------------


def macs_of(first: torch.Tensor, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
    """MACs of `small_images.convolutional` with these numbers of channels, for one picture."""
    return 9 * 64 * first + 9 * 64 * first * second + 9 * 16 * second * third + 4 * third * 10


def importances(model: nn.Sequential) -> list[torch.Tensor]:
    """For each convolution, the norm of each channel's filter times that of the weights that read it."""
    layers = [m for m in model if isinstance(m, nn.Conv2d | nn.Linear)]
    found = []
    for layer, reader in itertools.pairwise(layers):
        reads = reader.weight.detach()
        if isinstance(reader, nn.Linear):  # flattened: (channel, row, column)
            reads = reads.view(len(reads), layer.out_channels, -1)
        out = layer.weight.detach().flatten(1).norm(dim=1) * reads.transpose(0, 1).flatten(1).norm(dim=1)
        found.append(out)
    return found


def to_budget(model: nn.Sequential, budget: int) -> tuple[int, int, int]:
    """The numbers of channels that cost exactly the budget, and keep the most importance; ValueError if none does.

    Importance is summed as shares of each layer. All combinations are looked at: thousands, in one expression.
    """
    kept = [(i / i.sum()).sort(descending=True).values.cumsum(0) for i in importances(model)]
    sizes = [torch.arange(1, len(k) + 1) for k in kept]
    a, b, c = torch.meshgrid(*sizes, indexing="ij")
    score = kept[0][a - 1] + kept[1][b - 1] + kept[2][c - 1]
    exact = macs_of(a, b, c) == budget
    if not exact.any():
        below = macs_of(a, b, c)
        raise ValueError(
            f"no network costs {budget} MACs; the next below is {int(below[below < budget].max())}"
        )
    best = int(torch.where(exact, score, -1.0).argmax())
    return tuple(int(t.flatten()[best]) for t in (a, b, c))  # type: ignore[return-value]


@torch.no_grad()
def cut(model: nn.Sequential, channels: tuple[int, int, int]) -> nn.Sequential:
    """A smaller network with the most important channels of this one."""
    small = small_images.convolutional(*channels)
    layers = [[m for m in net if isinstance(m, nn.Conv2d | nn.Linear)] for net in (model, small)]
    inputs = torch.arange(1)
    chosen = [
        i.argsort(descending=True)[:n].sort().values
        for i, n in zip(importances(model), channels, strict=True)
    ]
    for old, new, kept in zip(*layers, [*chosen, torch.arange(10)], strict=True):
        weight = old.weight
        if isinstance(old, nn.Linear):
            weight = weight.view(10, -1, 4)
        new.weight.copy_(weight[kept][:, inputs].reshape(new.weight.shape))
        new.bias.copy_(old.bias[kept])
        inputs = kept
    return small.eval()


# Lottery tickets ------------------------------------------------------------------------------------------


def crowd_masks(crowd: Crowd, keep: float) -> list[torch.Tensor]:
    """For each network on its own, masks of the largest `keep` of all weights (those already out stay out)."""
    sizes = torch.cat(
        [(w.detach().abs() * m).flatten(1) for w, m in zip(crowd.weights, crowd.masks, strict=True)], 1
    )
    border = sizes.kthvalue(sizes.shape[1] - round(keep * sizes.shape[1]), dim=1).values
    return [
        (w.detach().abs() * m > border[:, None, None]).float()
        for w, m in zip(crowd.weights, crowd.masks, strict=True)
    ]


def shuffled(masks: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """As many ones in each layer of each network, in other places."""
    generator = torch.Generator().manual_seed(seed)
    order = [torch.rand(m.shape, generator=generator).flatten(1).argsort(1) for m in masks]
    return [m.flatten(1).gather(1, o).view_as(m) for m, o in zip(masks, order, strict=True)]


def tickets(
    widths: tuple[int, ...], seeds: int, steps: int, keep: float, rounds: int, looked: Iterable[int]
) -> dict[int, dict[str, torch.Tensor]]:
    """Train, prune, rewind, and again; at the rounds `looked` at, accuracies of the ticket and two controls.

    The ticket has its first weights; the controls have the same mask with weights drawn anew, and the first weights
    with a mask of as many ones in each layer elsewhere. Round 0 is the whole network.
    """
    found, masks = {}, None
    for number in range(rounds + 1):
        crowd = Crowd(widths, seeds, 0)
        crowd.masks = masks or crowd.masks
        kept = learn(crowd, steps, 1.0)
        if number in looked:
            found[number] = {"first weights": kept}
        if number and number in looked:
            for name, first, other in (
                ("drawn anew", 1, crowd.masks),
                ("other places", 0, shuffled(crowd.masks, 3)),
            ):
                control = Crowd(widths, seeds, first)
                control.masks = other
                found[number][name] = learn(control, steps, 1.0)
        masks = crowd_masks(crowd, keep ** (number + 1))
    return found


def from_scratch(channels: tuple[int, int, int], steps: int, seeds: int) -> list[float]:
    """Accuracies of networks with these channels, trained from their own first weights, one a seed."""
    torch.set_num_threads(1)
    return [
        small_images.accuracy(
            small_images.train(
                small_images.made(lambda: small_images.convolutional(*channels), seed),
                steps,
                seed,
                jitter=True,
            )
        )
        for seed in range(seeds)
    ]
