"""The drawings of lecture 2: students, what pruning leaves, cheap layers, search, speculative decoding."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.bench import Ratio


def students(groups: Mapping[str, Mapping[str, Sequence[float]]], teacher: float) -> Figure:
    """Accuracies of all seeds by what they learned from: one panel for each kind of student."""
    heights = [len(rows) for rows in groups.values()]
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(6.6, 0.9 + 0.36 * sum(heights)), height_ratios=heights
    )
    for ax, (title, rows), colour in zip(axes, groups.items(), plots.COLOURS, strict=False):
        for place, values in enumerate(rows.values()):
            ax.plot(values, [place] * len(values), linestyle="", marker="o", alpha=0.5, color=colour)
            ax.plot(np.mean(values), place, linestyle="", marker="|", markersize=15, color=plots.INK)
        ax.axvline(teacher, color=plots.INK, linestyle=":", linewidth=1.2)
        ax.set(title=title, ylim=(len(rows) - 0.5, -0.5))
        ax.set_yticks(range(len(rows)), list(rows))
    axes[-1].set_xlabel("% of pictures read rightly (|: mean; dotted: the teacher)")
    return figure


def magnitude(sparsities: Sequence[float], lines: Mapping[str, Sequence[float]]) -> Figure:
    """Accuracy against the share of weights that are zero, without any training afterwards."""
    figure, ax = plt.subplots(figsize=(5.6, 2.6))
    for (name, values), marker in zip(lines.items(), plots.MARKERS, strict=False):
        ax.plot([100 * s for s in sparsities], values, marker=marker, label=name)
    ax.set(xlabel="% of the weights at zero", ylabel="% read rightly", ylim=(0, 100))
    ax.legend(fontsize=9)
    return figure


def tickets(found: Mapping[float, Mapping[str, Sequence[float]]], whole: float) -> Figure:
    """Accuracy of sparse networks by the share of weights they have, with the spread over seeds."""
    figure, ax = plt.subplots(figsize=(5.6, 2.7))
    names = list(next(iter(found.values())))
    for shift, (name, marker) in enumerate(zip(names, plots.MARKERS, strict=False)):
        x = [100 * share * (1 + 0.03 * (shift - 1)) for share in found]
        values = [np.asarray(by[name]) for by in found.values()]
        ax.errorbar(
            x,
            [v.mean() for v in values],
            [v.std(ddof=1) for v in values],
            marker=marker,
            capsize=3,
            label=name,
        )
    ax.axhline(whole, color=plots.INK, linestyle=":", linewidth=1.2, label="the whole network")
    ax.set_xscale("log")
    ax.set_xticks([100 * s for s in found], [f"{100 * s:.3g}" for s in found])
    ax.minorticks_off()
    ax.set(xlabel="% of the weights that are left", ylabel="% read rightly", ylim=(0, 100))
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def sparse(sparsities: Sequence[float], lines: Mapping[str, Sequence[Ratio]]) -> Figure:
    """Time of a sparse product over that of the dense one, by sparsity."""
    figure, ax = plt.subplots(figsize=(5.6, 2.6))
    for (name, values), marker in zip(lines.items(), plots.MARKERS, strict=False):
        ax.semilogy(range(len(sparsities)), [v.value for v in values], marker=marker, label=name)
    ax.axhline(1, color=plots.INK, linewidth=1)
    ax.semilogy(
        range(len(sparsities)),
        [1 - s for s in sparsities],
        color=plots.INK,
        linestyle=":",
        marker="",
        label="MACs",
    )
    ax.set_xticks(range(len(sparsities)), [f"{100 * s:.3g}" for s in sparsities])
    ax.set(xlabel="% of the weights at zero", ylabel="times the dense\nproduct")
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def layers(rows: Mapping[str, tuple[float, float]]) -> Figure:
    """MACs and time of each layer as multiples of the first one's: pairs of bars."""
    figure, ax = plt.subplots(figsize=(6.6, 0.8 + 0.5 * len(rows)))
    for shift, (name, style) in enumerate(zip(("MACs", "time"), plots.bar_styles(2), strict=True)):
        values = [pair[shift] for pair in rows.values()]
        bars = ax.barh(np.arange(len(rows)) + 0.38 * shift, values, height=0.36, label=name, **style)
        ax.bar_label(bars, fmt="%.2g", padding=3, fontsize=8)
    ax.set_yticks(np.arange(len(rows)) + 0.19, list(rows))
    ax.axvline(1, color=plots.INK, linewidth=0.8)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("times the 3 x 3 convolution")
    figure.legend(fontsize=9, loc="outside right upper")
    return figure


def ranks(ranks: Sequence[int], lines: Mapping[str, Sequence[Ratio]], even: float) -> Figure:
    """Time of two thin layers over that of the full one, by rank; dotted: weights and MACs."""
    figure, ax = plt.subplots(figsize=(5.6, 2.6))
    for (name, values), marker in zip(lines.items(), plots.MARKERS, strict=False):
        ax.plot(ranks, [v.value for v in values], marker=marker, label=name)
    ax.plot(ranks, [r / even for r in ranks], color=plots.INK, linestyle=":", marker="", label="MACs, bytes")
    ax.axhline(1, color=plots.INK, linewidth=0.8)
    ax.set(xlabel="rank", ylabel="times the full layer", ylim=(0, None))
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def search(
    predicted: Sequence[float], measured: Sequence[float], shared: Sequence[float], alone: Sequence[float]
) -> Figure:
    """Left: the sum of the table against whole networks. Right: accuracy with shared weights against alone."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.9))
    ends = [0, 1.1e3 * max(*predicted, *measured)]
    left.plot(ends, ends, color=plots.INK, linestyle=":", marker="", linewidth=1)
    left.plot([1e3 * p for p in predicted], [1e3 * m for m in measured], linestyle="", marker="o")
    left.set(xlabel="sum of the table, ms", ylabel="whole network, ms", title="latency")
    right.plot(shared, alone, linestyle="", marker="s", color=plots.COLOURS[1])
    right.set(xlabel="% with shared weights", ylabel="% trained alone", title="accuracy")
    return figure


def searches(lines: Mapping[str, np.ndarray], best: float) -> Figure:
    """Best candidate so far by evaluations: mean and middle half over seeds, (seeds, evaluations) each."""
    figure, ax = plt.subplots(figsize=(5.6, 2.5))
    for (name, runs), colour in zip(lines.items(), plots.COLOURS, strict=False):
        x = np.arange(1, runs.shape[1] + 1)
        ax.fill_between(x, *np.quantile(runs, [0.25, 0.75], axis=0), alpha=0.2, color=colour, linewidth=0)
        ax.plot(x, runs.mean(0), marker="", label=name)
    ax.axhline(best, color=plots.INK, linestyle=":", linewidth=1.2, label="best of all")
    low = min(np.quantile(runs[:, 4], 0.25) for runs in lines.values())
    ax.set(xlabel="candidates judged", ylabel="% with shared\nweights", ylim=(low, best + 0.1 * (best - low)))
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def tokens(
    guesses: Sequence[int], measured: Mapping[str, Sequence[float]], formula: Mapping[str, Sequence[float]]
):
    """Tokens of a call by the number of guesses: measured as marks, the formula as dotted lines. Returns a figure."""
    figure, ax = plt.subplots(figsize=(5.6, 2.6))
    for name, marker, colour in zip(measured, plots.MARKERS, plots.COLOURS, strict=False):
        ax.plot(guesses, formula[name], color=colour, linestyle=":", marker="")
        ax.plot(guesses, measured[name], color=colour, linestyle="", marker=marker, markersize=7, label=name)
    ax.set(xlabel="guesses", ylabel="tokens of a call", ylim=(1, None))
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def batches(sizes: Sequence[int], measured: Sequence[Ratio], predicted: Sequence[float]) -> Figure:
    """How many times as fast a batch is with guesses as without, measured and predicted."""
    figure, ax = plt.subplots(figsize=(5.6, 2.5))
    values = [m.value for m in measured]
    error = [[m.value - m.low for m in measured], [m.high - m.value for m in measured]]
    ax.errorbar(sizes, values, error, marker="o", capsize=3, label="measured")
    ax.plot(sizes, predicted, marker="s", label="predicted from\nsingle passes")
    ax.axhline(1, color=plots.INK, linewidth=0.8)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(s) for s in sizes])
    ax.minorticks_off()
    ax.set(xlabel="sequences at once", ylabel="times as fast", ylim=(0, None))
    figure.legend(fontsize=9, loc="outside right center")
    return figure
