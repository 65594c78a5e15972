"""The drawings of the lecture: loss against bits, errors by layer, channels with outliers, time by rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.bench import Comparison


def loss_by_bits(lines: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Bits per byte lost against bits per weight, both as counted; a line for each way to share scales."""
    figure, ax = plt.subplots(figsize=(6.4, 3.0))
    for (name, points), marker in zip(lines.items(), plots.MARKERS, strict=False):
        bits, lost = zip(*sorted(points), strict=True)
        ax.semilogy(bits, np.maximum(lost, 1e-4), marker=marker, label=name)
    ax.set(xlabel="bits per weight, scales counted", ylabel="bits per byte lost")
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def layer_errors(errors: Sequence[tuple[str, float, float]]) -> Figure:
    """GPTQ's output error over that of rounding to nearest, for every layer in the order of the model."""
    figure, ax = plt.subplots(figsize=(7, 2.8))
    kinds = list(dict.fromkeys(name.rpartition(".")[2] for name, _, _ in errors))
    for kind, marker, colour in zip(kinds, plots.MARKERS, plots.COLOURS * 2, strict=False):
        mine = [(i, after / before) for i, (name, before, after) in enumerate(errors) if name.endswith(kind)]
        ax.plot(*zip(*mine, strict=True), marker=marker, color=colour, linestyle="", label=kind)
    ax.axhline(1, color=plots.INK, linewidth=0.8)
    each = len(kinds)
    blocks = range(len(errors) // each)
    ax.set_xticks([i * each + (each - 1) / 2 for i in blocks], [f"block {i}" for i in blocks])
    ax.set(ylabel="GPTQ's error over\nrounding to nearest", ylim=(0, 1.1))
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def channels(panels: Mapping[str, torch.Tensor]) -> Figure:
    """The largest magnitude of every input channel of one layer, a panel for each model; one scale for all."""
    figure, axes = plt.subplots(1, len(panels), figsize=(7, 2.4), sharey=True)
    for ax, (name, most), style in zip(axes, panels.items(), plots.bar_styles(len(panels)), strict=True):
        ax.vlines(range(len(most)), 0.01, most.numpy(), color=style["color"], linewidth=1)
        ax.set(xlabel="channel", yscale="log")
        ax.set_title(name, fontsize=9)
    axes[0].set_ylabel("largest magnitude")
    return figure


def by_rows(times: Mapping[int, Comparison], names: Sequence[str], reference: str) -> Figure:
    """How many times as fast as the reference each route is, by the rows that share a reading of the weights."""
    figure, ax = plt.subplots(figsize=(6.4, 2.8))
    rows = list(times)
    for name, marker in zip(names, plots.MARKERS, strict=False):
        ratios = [times[n].ratio(reference, name) for n in rows]
        ax.plot(rows, [r.value for r in ratios], marker=marker, label=name)
        ax.fill_between(rows, [r.low for r in ratios], [r.high for r in ratios], alpha=0.15, linewidth=0)
    ax.axhline(1, color=plots.INK, linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="rows (sequences that decode together)")
    ax.set_ylabel(f"speed over {reference}")
    ax.set_xticks(rows, [str(n) for n in rows])
    ax.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["1/4", "1/2", "1", "2", "4", "8"])
    ax.minorticks_off()
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def bytes_by_context(contexts: Sequence[int], lines: Mapping[str, Sequence[float]]) -> Figure:
    """Gigabytes that a step reads for each token, by the length of the context."""
    figure, ax = plt.subplots(figsize=(6.4, 2.8))
    for (name, values), marker in zip(lines.items(), plots.MARKERS, strict=False):
        ax.loglog(contexts, [v / 1e9 for v in values], marker=marker, label=name)
    ax.set(xlabel="tokens of context in each sequence", ylabel="GB for each token")
    ax.set_xticks(contexts, [f"{n:,}" for n in contexts])
    ax.minorticks_off()
    figure.legend(fontsize=9, loc="outside right center")
    return figure
