"""Every method of the week on one model: what is stored, how it runs, and what it costs in quality."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from effdl import bench
from week08_compress_models import gptq, int8_products, outliers, running, storage, students
from week08_compress_models import language_model as lm
from week08_compress_models.grids import Grid

EIGHT, FOUR, THREE = Grid(8), Grid(4, 32), Grid(3, 32)
"""Steps for a row at 8 bits; below, for 32 neighbours of a row, which is what PyTorch's int4 kernel takes too."""


# ---- quality


@torch.no_grad()
def losses(model: lm.LanguageModel, windows: Tensor, batch: int = 16) -> Tensor:
    """Bits per byte of each window on its own, (n,) float64; windows (n, tokens + 1) int64."""
    found = []
    for part in windows.split(batch):
        logits = model(part[:, :-1]).float()
        each = F.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none")
        found.append(each.double().mean(1) / math.log(2))
    return torch.cat(found)


def paired_interval(first: Tensor, second: Tensor) -> tuple[float, float, float]:
    """How much more `second` needs than `first` on the same windows: mean, and its 98 % bootstrap interval."""
    difference = (second - first).numpy()
    low, high = bench.bootstrap_interval(difference, statistic=lambda x, axis: x.mean(axis))
    return float(difference.mean()), low, high


# ---- what each method stores


def half_of_the_weights(weight: Tensor) -> storage.Sparse:
    """The larger half of a matrix, the rest zero (Han et al. 2015, without training again)."""
    border = weight.abs().flatten().kthvalue(weight.numel() // 2).values
    return storage.Sparse(weight * (weight.abs() > border))


def half_of_the_rank(weight: Tensor) -> storage.Factors:
    """Two factors with half as many numbers as the matrix: the best ones in squared error of the weights."""
    rows, k = weight.shape
    rank = rows * k // (2 * (rows + k))
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    root = s[:rank].sqrt()
    return storage.Factors(u[:, :rank] * root, root[:, None] * v[:rank])


def every(model: lm.LanguageModel, form: Callable[[Tensor], storage.Stored]) -> dict[str, storage.Stored]:
    """The same form for each linear layer of the blocks."""
    return {name: form(layer.weight.detach()) for name, layer in lm.linears(model).items()}


@dataclass(frozen=True)
class Made:
    """What a method made of a model: the model, the forms of its layers, how it is to run (`running.runnable`)."""

    model: lm.LanguageModel
    forms: Mapping[str, storage.Stored]
    path: str


def made(seed: int, calibration: Tensor) -> dict[str, Made]:
    """Every method on the model of a seed. `calibration` (n, tokens) is what GPTQ and SmoothQuant may look at."""
    model, student = lm.load(seed), students.student(seed)
    largest = int8_products.largest_here()

    def eight(weight: Tensor) -> storage.Integers:
        return storage.on_grid(weight, EIGHT)

    def eight_to_multiply(weight: Tensor) -> storage.Integers:
        return storage.on_grid(weight, EIGHT, largest)

    def row(model: lm.LanguageModel, form: Callable | None, path: str) -> Made:
        return Made(model, every(model, form) if form else {}, path)

    found = {
        "16 bits, runs in float32": row(model, None, "float32"),
        "16 bits, runs in bfloat16": row(model, None, "bfloat16"),
        "int8 weights": row(model, eight, "int8 weights"),
        "int8 weights and activations": row(model, eight_to_multiply, "W8A8"),
        "the same, smoothed": row(outliers.smooth(model, calibration), eight_to_multiply, "W8A8"),
        "4 bits, nearest": row(model, lambda weight: storage.on_grid(weight, FOUR), "int4 weights"),
        "3 bits, nearest": row(model, lambda weight: storage.on_grid(weight, THREE), "bfloat16"),
    }
    for name, grid, path in (("4 bits, GPTQ", FOUR, "int4 weights"), ("3 bits, GPTQ", THREE, "bfloat16")):
        rounded, _ = gptq.compress_by_gptq(model, calibration, grid)
        forms = every(rounded, lambda weight, grid=grid: storage.recovered(weight, grid))
        found[name] = Made(rounded, forms, path)
    found |= {
        "half of the weights": row(model, half_of_the_weights, "bfloat16"),
        "half of the rank": row(model, half_of_the_rank, "low rank"),
        "student": row(student, None, "bfloat16"),
        "student, int8 weights": row(student, eight, "int8 weights"),
    }
    return found


@dataclass(frozen=True)
class Judged:
    """What a method's file holds: bytes, bits per byte on each window, and the model as it runs.

    Forms of one shape and one `path` run the same code on as many numbers: their time is one.
    """

    size: int
    losses: Tensor
    runs: lm.LanguageModel
    path: str


def judged(one: Made, windows: Tensor, path: Path) -> Judged:
    """Write the file, forget everything, read it, and judge what was read.

    Activations in 8 bits, and bfloat16 where nothing else is compressed, are judged as they run; other forms with
    their weights expanded to float32, which is the same to three digits and needs no kernel.
    """
    size = storage.write(one.model, one.forms, path)
    model, forms = storage.read(path, one.model.config)
    runs = running.runnable(model, forms, one.path)
    as_it_runs = one.path == "W8A8" or (one.path == "bfloat16" and not one.forms)
    path_name = one.path if model.config == lm.TEACHER else f"student, {one.path}"
    return Judged(size, losses(runs if as_it_runs else model, windows), runs, path_name)


def all_judged(
    seeds: Sequence[int], windows: Tensor, calibration: Tensor, folder: Path
) -> dict[str, list[Judged]]:
    """Every method on the models of several seeds: one :class:`Judged` for each seed, by method."""
    found: dict[str, list[Judged]] = {}
    for seed in seeds:
        for name, one in made(seed, calibration).items():
            found.setdefault(name, []).append(judged(one, windows, folder / "model.npz"))
    return found


def increases(rows: Mapping[str, list[Judged]], base: str) -> dict[str, tuple[float, float, float]]:
    """Bits per byte more than `base` of the same seed, on the same windows: mean over seeds and its 95 % interval.

    With one seed, its mean over windows and their 98 % interval.
    """
    if len(rows[base]) == 1:
        (full,) = rows[base]
        return {name: paired_interval(full.losses, found[0].losses) for name, found in rows.items()}
    return {
        name: students.mean_and_interval(
            [float((mine.losses - full.losses).mean()) for mine, full in zip(found, rows[base], strict=True)]
        )
        for name, found in rows.items()
    }


HEADS = [
    "form",
    "bytes",
    "pass, ms",
    "one byte, ms",
    "bits per byte more",
    "95 %, by seeds",
    "98 %, by windows",
]


def table(
    rows: Mapping[str, list[Judged]],
    more: Mapping[str, tuple[float, float, float]],
    passes: bench.Comparison,
    ones: bench.Comparison,
) -> list[list[str]]:
    """A row for each form under HEADS; the first form is what the others are compared with."""
    lines = []
    pooled = {name: torch.stack([one.losses for one in found]).mean(0) for name, found in rows.items()}
    base = next(iter(pooled.values()))
    for number, (name, found) in enumerate(rows.items(), start=1):
        intervals = more[name], paired_interval(base, pooled[name])
        lines.append(
            [
                f"{number} {name}",
                f"{found[0].size:,}",
                *(f"{1e3 * times.median(found[0].path):.1f}" for times in (passes, ones)),
                f"{more[name][0]:+.4f}",
                *(f"{low:+.4f} to {high:+.4f}" for _, low, high in intervals),
            ]
        )
        if len(found) == 1:
            lines[-1][5] = "one seed"
    return lines
