"""Compressed layers as they run here: PyTorch's own kernels for int8 and int4, and how long a model takes with them.

A form without a kernel (3 bits, scattered zeros) is expanded when the model is loaded, and then runs as before: it
saves space in the file, and no time.
"""

import copy
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from effdl import bench
from week08_compress_models import int8_products, storage
from week08_compress_models import language_model as lm
from week08_compress_models.grids import Grid

MOST_SECONDS = 12
"""What a comparison may take at most, unless two rounds take longer."""


class EightByEight(nn.Module):
    """W8A8: int8 weights with a step for each row, int8 activations with a step for each token, sums in int32.

    `product(x, codes, steps)` is :func:`int8_products.linear`, or yours. `smooth` (k,) divides the activations.
    """

    def __init__(self, form: storage.Integers, product: Callable | None = None, smooth: Tensor | None = None):
        super().__init__()
        self.codes, self.steps = form.codes, form.steps.half().float()
        self.product, self.smooth = product or int8_products.linear, smooth

    def forward(self, x: Tensor) -> Tensor:
        """(..., k) float32 to (..., rows)."""
        x = x if self.smooth is None else x / self.smooth
        return self.product(x.flatten(0, -2), self.codes, self.steps).view(*x.shape[:-1], -1)


class WeightsOfEight(nn.Module):
    """Weight-only int8: the kernel widens the weights as it multiplies; bfloat16 in and out."""

    def __init__(self, form: storage.Integers):
        super().__init__()
        self.codes, self.steps = form.codes, form.steps.bfloat16().flatten()

    def forward(self, x: Tensor) -> Tensor:
        """(..., k) bfloat16 to (..., rows)."""
        return torch._weight_int8pack_mm(x.flatten(0, -2), self.codes, self.steps).view(*x.shape[:-1], -1)


class WeightsOfFour(nn.Module):
    """Weight-only int4 in groups: the kernel widens the weights as it multiplies; bfloat16 in and out."""

    def __init__(self, form: storage.Integers):
        super().__init__()
        steps = form.steps.t()
        self.group = form.codes.shape[1] // steps.shape[0]
        self.packed = torch._convert_weight_to_int4pack_for_cpu(form.codes.int() + 8, 1)
        self.steps = torch.stack([steps, torch.zeros_like(steps)], 2).bfloat16().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """(..., k) bfloat16 to (..., rows)."""
        found = torch._weight_int4pack_mm_for_cpu(x.flatten(0, -2), self.packed, self.group, self.steps)
        return found.view(*x.shape[:-1], -1)


class Thin(nn.Module):
    """Low rank: two products, through fewer numbers than either side has."""

    def __init__(self, form: storage.Factors):
        super().__init__()
        self.left, self.right = form.left, form.right

    def forward(self, x: Tensor) -> Tensor:
        """(..., k) to (..., rows)."""
        return (x @ self.right.to(x.dtype).t()) @ self.left.to(x.dtype).t()


def with_layers(model: lm.LanguageModel, layer: Callable[[str, nn.Linear], nn.Module]) -> lm.LanguageModel:
    """A copy whose linear layers in the blocks are `layer(name, linear)`."""
    model = copy.deepcopy(model)
    for name, linear in lm.linears(model).items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer(name, linear))
    return model


def runnable(model: lm.LanguageModel, forms: Mapping[str, storage.Stored], path: str) -> lm.LanguageModel:
    """The model as it runs: "float32", "bfloat16", "int8 weights", "int4 weights", "W8A8" or "low rank".

    `forms` holds what the layers were stored as; the weights of `model` are those forms expanded.
    """
    kernels = {
        "int8 weights": WeightsOfEight,
        "int4 weights": WeightsOfFour,
        "W8A8": EightByEight,
        "low rank": Thin,
    }
    if path in kernels:
        model = with_layers(model, lambda name, _: kernels[path](forms[name]))
    return model if path in ("float32", "W8A8") else copy.deepcopy(model).bfloat16()


def latencies(
    models: Mapping[str, lm.LanguageModel], tokens: Tensor, pairs: int = 8, cached: bool = False
) -> bench.Comparison:
    """Seconds of one pass over the tokens (batch, n), by turns; `cached`: of the last token, behind all others."""

    def run(model: lm.LanguageModel) -> Callable[[], Tensor]:
        if not cached:
            return lambda: model(tokens)
        cache = lm.Cache()
        model(tokens[:, :-1], cache)

        def step():
            logits = model(tokens[:, -1:], cache)
            cache.cut(tokens.shape[1] - 1)
            return logits

        return step

    with torch.inference_mode():
        calls = {name: run(model) for name, model in models.items()}
        began = time.perf_counter()
        for call in calls.values():
            call()
        # Where a kernel has only a plain loop (int4 without AVX2), fewer rounds must do.
        rounds = int(MOST_SECONDS / (time.perf_counter() - began))
        return bench.compare(calls, pairs=max(2, min(pairs, rounds)), warmup=1)


def all_eight(model: nn.Module) -> nn.Module:
    """A copy whose linear layers, whatever they are called, are :class:`EightByEight`."""
    model = copy.deepcopy(model)
    largest = int8_products.largest_here()
    for name, part in list(model.named_modules()):
        if isinstance(part, nn.Linear):
            parent, _, own = name.rpartition(".")
            form = storage.on_grid(part.weight, Grid(8), largest)
            setattr(model.get_submodule(parent), own, EightByEight(form))
    return model
