"""The drawings of lecture 2: suites, searches, time to a target, drift."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots


def suites(mutants: np.ndarray, bugs: np.ndarray, sizes: np.ndarray) -> Figure:
    """Random suites as points: share of mutants killed, share of real bugs found, size by colour and marker."""
    figure, ax = plt.subplots(figsize=(5.4, 3.0))
    cuts = np.quantile(sizes, [1 / 3, 2 / 3])
    groups = np.digitize(sizes, cuts)
    for group in range(3):
        chosen = groups == group
        label = f"{sizes[chosen].min()} to {sizes[chosen].max()} tests"
        ax.scatter(
            100 * mutants[chosen],
            100 * bugs[chosen],
            s=14,
            marker=plots.MARKERS[group],
            alpha=0.6,
            label=label,
        )
    ax.set(xlabel="% of the mutants killed", ylabel="% of the real bugs found")
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def frontier(results: Mapping[str, tuple[float, float]], schedule: str) -> Figure:
    """Test loss of what a search kept against its cost: {name: (units, loss)}; random search is the line."""
    figure, ax = plt.subplots(figsize=(6.4, 3.0))
    line = sorted(point for name, point in results.items() if name.startswith("random"))
    ax.plot(*zip(*line, strict=True), marker="o", label="random search")
    others = [name for name in results if not name.startswith("random")]
    for i, name in enumerate(others):
        ax.plot(
            *results[name],
            linestyle="",
            color=plots.COLOURS[(i + 1) % 6],
            marker=plots.MARKERS[1 + i % 8],
            label=name,
        )
    ax.set(
        xscale="log",
        xlabel="units of training paid",
        ylabel="test loss of what it kept",
        title=f"{schedule} rate",
    )
    figure.legend(fontsize=8, loc="outside right center")
    return figure


def curves(times: Sequence[int], one: np.ndarray, two: np.ndarray, names: Sequence[str]) -> Figure:
    """Validation curves of two groups of settings, side by side."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    for ax, losses, name in zip(axes, (one, two), names, strict=True):
        for curve in losses:
            ax.plot(times, curve)
        ax.set(xscale="log", xlabel="units", title=name)
    axes[0].set(ylabel="validation loss", ylim=(0.25, 2.7))
    return figure


def intervals(rows: Mapping[str, tuple[float, float, float]], label: str) -> Figure:
    """Values with their intervals, one line each."""
    figure, ax = plt.subplots(figsize=(6, 0.7 + 0.4 * len(rows)))
    for i, (value, low, high) in enumerate(rows.values()):
        ax.errorbar(
            value, i, xerr=[[value - low], [high - value]], fmt="o", color=plots.COLOURS[0], capsize=3
        )
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel=label, xlim=(0, None), ylim=(len(rows) - 0.5, -0.5))
    return figure


def scores(samples: Mapping[str, np.ndarray], truth: float) -> Figure:
    """How the score of a submission is distributed, for several ways to make one number of runs."""
    figure, ax = plt.subplots(figsize=(6, 2.2))
    for i, (values, style) in enumerate(zip(samples.values(), plots.bar_styles(len(samples)), strict=True)):
        low, first, middle, third, high = np.quantile(values, [0.025, 0.25, 0.5, 0.75, 0.975])
        ax.plot([low, high], [i, i], color=style["color"], linestyle="-", marker="")
        ax.barh(i, third - first, left=first, height=0.5, **style)
        ax.plot(middle, i, marker="o", color=plots.INK)
    ax.axvline(truth, color=plots.INK, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(samples)), samples)
    ax.invert_yaxis()
    ax.set(xlabel="updates to the target", xlim=(min(map(np.min, samples.values())) - 10, None))
    return figure


def delays(found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Rows from a drift to its alarm: groups of bars by drift, a bar for each monitor; logarithmic."""
    figure, ax = plt.subplots(figsize=(6.4, 2.6))
    kinds = list(next(iter(found.values())))
    width = 0.8 / len(found)
    for i, ((name, rows), style) in enumerate(zip(found.items(), plots.bar_styles(len(found)), strict=True)):
        places = np.arange(len(kinds)) + (i - (len(found) - 1) / 2) * width
        ax.bar(places, [rows[kind] for kind in kinds], width, label=name, **style)
    ax.set(yscale="log", ylabel="rows until the alarm")
    ax.set_xticks(range(len(kinds)), kinds)
    ax.grid(axis="x", visible=False)
    figure.legend(fontsize=9, loc="outside right center")
    return figure
