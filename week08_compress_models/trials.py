"""The lecture's experiments: what a method costs in bits per byte over several models, and cases for exercises."""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from week08_compress_models import kv_cache
from week08_compress_models import language_model as lm
from week08_compress_models.grids import Grid, TrainedRound, compress, nearest
from week08_compress_models.int8_speed import torchao_quietly


class Judged:
    """Models of several seeds, and the bits per byte of each as it is; methods are judged by what they add."""

    def __init__(self, seeds: Sequence[int], windows: torch.Tensor):
        self.models = [lm.load(seed) for seed in seeds]
        self.windows = windows
        self.base = [lm.bits_per_byte(model, windows) for model in self.models]

    def lost(self, change: Callable[[lm.LanguageModel], nn.Module]) -> list[float]:
        """Bits per byte that each model loses by `change`."""
        found = [lm.bits_per_byte(change(model), self.windows) for model in self.models]
        return [after - before for after, before in zip(found, self.base, strict=True)]

    def lost_by_cache(self, bits: int, keys: str, values: str) -> list[float]:
        """Bits per byte that each model loses if attention reads a rounded cache."""
        make = lambda: kv_cache.QuantisedCache(bits, keys, values)  # noqa: E731
        found = [kv_cache.bits_per_byte(model, self.windows, make) for model in self.models]
        return [after - before for after, before in zip(found, self.base, strict=True)]


def spread(values: Sequence[float], digits: int = 4) -> str:
    """The mean, and the smallest and the largest: "0.012 (0.010 to 0.014)"."""
    mean = sum(values) / len(values)
    return f"{mean:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def by_torchao(model: lm.LanguageModel, group: int) -> lm.LanguageModel:
    """A copy rounded by the library: 4 bits, a scale for each group, symmetric."""
    quantization = torchao_quietly()
    model = copy.deepcopy(model)
    config = quantization.IntxWeightOnlyConfig(torch.int4, quantization.PerGroup(group))
    quantization.quantize_(model.blocks, config)
    return model


def fine_tune(model: lm.LanguageModel, steps: int, grid: Grid | None, seed: int = 0) -> lm.LanguageModel:
    """A copy trained for some steps on the bundled text; with a grid, its blocks multiply with rounded weights."""
    model = copy.deepcopy(model).train()
    layers = lm.linears(model).values()
    if grid is not None:
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", TrainedRound(grid))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    for step in range(steps):
        tokens = lm.batch_of(lm.training(), step, batch=8, seed=seed)
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
    if grid is not None:
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight")
    return model.eval()


def rounding_in_training(
    grid: Grid, steps: int, windows: torch.Tensor, seeds: Sequence[int]
) -> list[dict[str, float]]:
    """For each seed of the data: what the draft loses by rounding after as many steps, and by rounding in them.

    Both are compared with the same steps without rounding, so that training on is not counted as a gain.
    """
    rows, draft = [], lm.load("draft")
    for seed in seeds:
        plain, within = (fine_tune(draft, steps, g, seed) for g in (None, grid))
        base = lm.bits_per_byte(plain, windows)
        after = lm.bits_per_byte(compress(plain, nearest(grid)), windows)
        rows.append({"afterwards": after - base, "in training": lm.bits_per_byte(within, windows) - base})
    return rows


# Exercises ----------------------------------------------------------------------------------------------------------


def affine_cases() -> list[tuple[tuple, list[torch.Tensor]]]:
    """Numbers and bits to codes and numbers again."""
    generator = torch.Generator().manual_seed(0)
    cases = []
    for x, bits in (
        (torch.tensor([0.0, 1.0, 2.0, 3.0]), 2),
        (torch.tensor([-1.0, 0.0, 0.6, 2.0]), 4),
        (torch.rand(6, generator=generator) + 5, 8),
        (torch.randn(6, generator=generator), 3),
        (-torch.rand(4, generator=generator) - 1, 4),
    ):
        low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
        scale = (high - low) / (2**bits - 1)
        zero = round(-low / scale)
        codes = ((x / scale).round() + zero).clamp(0, 2**bits - 1)
        cases.append(((x, bits), [codes, scale * (codes - zero)]))
    return cases


def feedback_cases() -> list[tuple[tuple, torch.Tensor]]:
    """A row of weights, the factor of the inverse Hessian, and a step, to the row as GPTQ rounds it."""
    generator = torch.Generator().manual_seed(1)
    cases = []
    for size, step in ((2, 1.0), (4, 0.5), (8, 0.25)):
        x = torch.randn(64, size, generator=generator)
        x[:, -1] = x[:, 0] + 0.1 * x[:, -1]  # the last input nearly repeats the first
        hessian = x.T @ x / 64 + 0.01 * torch.eye(size)
        factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
        row = torch.randn(size, generator=generator)
        free, rounded = row.clone(), torch.empty(size)
        for j in range(size):
            rounded[j] = step * (free[j] / step).round()
            free[j:] -= (free[j] - rounded[j]) / factor[j, j] * factor[j, j:]
        cases.append(((row, factor, step), rounded))
    return cases


def clip_cases() -> list[tuple[tuple, float]]:
    """Rows of weights and bits to the share of the largest magnitude at which the squared error is least."""
    generator = torch.Generator().manual_seed(2)
    rows = [(torch.randn(256, generator=generator), bits) for bits in (2, 3, 4)]
    heavy = torch.randn(256, generator=generator)
    heavy[7] = 9.0
    cases = []
    for row, bits in [*rows, (heavy, 3)]:
        half = 2 ** (bits - 1) - 1
        shares = torch.linspace(0.3, 1.0, 15)
        errors = []
        for share in shares:
            scale = share * row.abs().max() / half
            errors.append(float(((row / scale).round().clamp(-half, half) * scale - row).square().sum()))
        cases.append(((row, bits), float(shares[errors.index(min(errors))])))
    return cases
