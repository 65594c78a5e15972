"""Tables and races that lecture 1 prints, so that its cells hold what a reader should read."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effdl import bench
from effdl.kernels import Compiled
from effdl.notebook import Table
from week07_inference_software import formats
from week07_inference_software.expressions import text
from week07_inference_software.graph_rules import Bytes
from week07_inference_software.substitutions import Pair

Run = Callable[[Tensor], Tensor]


def race(
    runs: Mapping[str, Run], x: Tensor, pairs: int = 15, min_time: float | None = None
) -> bench.Comparison:
    """Each function on the same input, in interleaved rounds, without a record for gradients."""
    with torch.inference_mode():
        return bench.compare(
            {name: lambda run=run: run(x) for name, run in runs.items()}, pairs, min_time=min_time
        )


def apart(runs: Mapping[str, Run], eager: Run, x: Tensor) -> dict[str, float]:
    """Largest difference from eager's answer, as a share of its largest number."""
    with torch.inference_mode():
        expected = eager(x)
        largest = expected.abs().max()
        return {name: ((run(x) - expected).abs().max() / largest).item() for name, run in runs.items()}


def operations(left: Mapping[str, Counter[str]]) -> Table:
    """How many operations of which kind are left in each graph."""
    rows = [
        [name, sum(kinds.values()), ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())]
        for name, kinds in left.items()
    ]
    return Table(["", "operations", "which"], rows)


def fusible(kinds: Counter[str]) -> int:
    """Norms, ReLUs and sums among a graph's operations: what a convolution could do on the way.

    OpenVINO calls all of them `Eltwise` in the graph that it runs.
    """
    names = ("add", "sum", "relu", "batch_norm", "batchnormalization", "eltwise", "own kernels, norm or relu")
    return sum(n for kind, n in kinds.items() if kind.lower() in names)


def starts(found: Mapping[str, tuple[float, float]]) -> Table:
    """Seconds and megabytes of new processes."""
    rows = [[name, f"{seconds:.2f}", f"{megabytes:.0f}"] for name, (seconds, megabytes) in found.items()]
    return Table(["a new process", "to its first answer and end, s", "memory, MB"], rows)


def sizes(files: Mapping[str, Path]) -> Table:
    """Kilobytes of the files that are there."""
    rows = [[name, f"{formats.nbytes(f) / 1e3:,.0f}"] for name, f in files.items() if f.exists()]
    return Table(["file", "kB"], rows)


def rewritten(costs: Mapping[str, Bytes], timed: bench.Comparison) -> Table:
    """Operations, bytes and speed of versions of a network, beside the first one's."""
    first = next(iter(costs))
    rows = [
        [name, c.operations, f"{c.total / 1e6:.2f}", f"{timed.ratio(first, name).value:.2f}"]
        for name, c in costs.items()
    ]
    return Table(["one image", "operations", "MB read and written", "times as fast, 16 images"], rows)


def rules(found: Sequence[Pair], columns: int = 3) -> Table:
    """Rules as equations, several in a row."""
    shown = [f"{text(a)} = {text(b)}" for a, b in found]
    shown += [""] * (-len(shown) % columns)
    lines = [shown[n : n + columns] for n in range(0, len(shown), columns)]
    return Table([""] * columns, lines, f"{len(found)} rules")


def layers(timed: bench.Comparison, products: Sequence[int]) -> Table:
    """Ways to compute the adapted layer: products in each, and speed beside the first."""
    first = next(iter(timed.timings))
    rows = [
        [name, count, str(timed.ratio(first, name))]
        for name, count in zip(timed.timings, products, strict=True)
    ]
    return Table(["one row of X", "products", "times as fast"], rows)


def memory_instructions(versions: Mapping[str, Compiled]) -> Table:
    """Instructions for global memory in compiled kernels."""
    rows: list[list[Any]] = [
        [
            name,
            ", ".join(f"{n} {kind}" for kind, n in code.loads_and_stores.items()),
            f"{code.machine_code:,}",
        ]
        for name, code in versions.items()
    ]
    return Table(["multiples of 16", "instructions for memory, of a thread", "bytes of machine code"], rows)
