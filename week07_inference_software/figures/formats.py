"""The drawings of lecture 1: what captured functions answer, engines beside eager, fingerprints, the search."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.bench import Ratio


def outcomes(found: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Figure:
    """Right, wrong and refused answers: {function: {way to capture: {outcome: count}}}, a panel for each function."""
    figure, axes = plt.subplots(1, len(found), figsize=(7, 2), sharey=True)
    for ax, (function, ways) in zip(axes, found.items(), strict=True):
        left = np.zeros(len(ways))
        names = list(next(iter(ways.values())))
        for outcome, style in zip(names, plots.bar_styles(len(names)), strict=True):
            counts = np.array([counts[outcome] for counts in ways.values()])
            ax.barh(range(len(ways)), counts, left=left, height=0.6, label=outcome, **style)
            left += counts
        ax.set_yticks(range(len(ways)), list(ways))
        ax.set(title=function, xlabel="of 100 calls")
        ax.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=9)
    return figure


def speedups(ratios: Mapping[str, Mapping[str, Ratio]]) -> Figure:
    """Eager's time over each engine's, with intervals: {what is computed: {engine: ratio}}."""
    figure, ax = plt.subplots(figsize=(6.8, 2.8))
    engines = list(next(iter(ratios.values())))
    height = 0.8 / len(engines)
    for number, (engine, style) in enumerate(zip(engines, plots.bar_styles(len(engines)), strict=True)):
        for row, values in enumerate(ratios.values()):
            if engine in values:
                r = values[engine]
                error = [[max(r.value - r.low, 0)], [max(r.high - r.value, 0)]]
                label = engine if row == 0 else None
                place = row + (number - (len(engines) - 1) / 2) * height
                ax.barh(place, r.value, xerr=error, height=height, capsize=2, label=label, **style)
    ax.axvline(1, color=plots.INK, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(ratios)), list(ratios))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="eager's time over the engine's", xlim=(0, None))
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def fingerprints(rows: Mapping[str, tuple[int, int]]) -> Figure:
    """Pairs that were proven and refuted, by what the fingerprint was made of: {name: (proven, refuted)}."""
    figure, ax = plt.subplots(figsize=(6.4, 2.3))
    for offset, (word, style) in enumerate(zip(("proven", "refuted"), plots.bar_styles(2), strict=True)):
        counts = [pair[offset] for pair in rows.values()]
        places = np.arange(len(rows)) + (offset - 0.5) * 0.38
        ax.barh(places, np.maximum(np.array(counts) - 0.5, 0), left=0.5, height=0.36, label=word, **style)
        for place, count in zip(places, counts, strict=True):
            ax.annotate(
                f"{count:,}",
                (max(count, 0.5), place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xscale="log", xlabel="pairs with one fingerprint", xlim=(0.5, 3e5))
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def searches(trails: Mapping[str, Sequence[float]]) -> Figure:
    """The lowest cost so far by graphs that were looked at, in seconds; a dot where the search stopped."""
    figure, ax = plt.subplots(figsize=(5.8, 2.4))
    for (name, trail), marker in zip(trails.items(), plots.MARKERS, strict=False):
        places = np.arange(len(trail))
        (line,) = ax.step(places, np.array(trail) * 1e6, where="post", label=name)
        ax.plot(places[-1], trail[-1] * 1e6, marker, color=line.get_color())
    ax.set(
        xlabel="graphs looked at",
        ylabel="estimated time, us",
        ylim=(0, 1.1e6 * max(max(t) for t in trails.values())),
    )
    figure.legend(loc="outside right center", fontsize=9)
    return figure


def by_batch(batches: Sequence[int], ratios: Sequence[Ratio]) -> Figure:
    """How many times faster the found graph is, by rows of the input."""
    figure, ax = plt.subplots(figsize=(5.2, 2.2))
    values = np.array([r.value for r in ratios])
    error = [[max(r.value - r.low, 0) for r in ratios], [max(r.high - r.value, 0) for r in ratios]]
    ax.errorbar(batches, values, yerr=error, marker="o", capsize=3)
    ax.axhline(1, color=plots.INK, linestyle=":", linewidth=1)
    ax.set_xscale("log", base=2)
    ax.set_xticks(batches, [f"{n:,}" for n in batches])
    ax.minorticks_off()
    ax.set(xlabel="rows of X", ylabel="time as written\nover time found", ylim=(0, None))
    return figure
