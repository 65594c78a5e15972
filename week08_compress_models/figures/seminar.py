"""The drawings of the seminar: training, students, the Pareto plot, transfer, robustness."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots


def learning(curve: Sequence[float], tokens: int, here: float, bundled: float, alone: float) -> Figure:
    """Bits per byte of each step over the bytes read, and three levels on the text that judges."""
    figure, ax = plt.subplots(figsize=(7, 3.2))
    read = np.arange(1, len(curve) + 1) * tokens / 1e3
    ax.plot(read, curve, label="this page's model, on the text it learns from")
    levels = (
        (here, "it, at the end, on the text that judges", ":"),
        (alone, "a bundled student, on that text", "-."),
        (bundled, "the bundled model, on that text", "--"),
    )
    for (level, name, dash), colour in zip(levels, plots.COLOURS[1:], strict=False):
        ax.axhline(level, label=f"{name}: {level:.2f}", color=colour, linestyle=dash)
    ax.set(xlabel="thousand bytes read", ylabel="bits per byte", ylim=(2, 9))
    ax.legend(fontsize=8)
    return figure


def seeds(found: Mapping[str, Sequence[float]], unit: str) -> Figure:
    """One row for each name, one mark for each seed, and lines between the marks of a seed."""
    figure, ax = plt.subplots(figsize=(7, 0.9 + 0.45 * len(found)))
    values = np.array(list(found.values()))
    for seed, (column, marker, colour) in enumerate(
        zip(values.T, plots.MARKERS, plots.COLOURS, strict=False)
    ):
        ax.plot(column, range(len(found)), marker=marker, color=colour, linewidth=1, label=f"seed {seed}")
    ax.set_yticks(range(len(found)), list(found))
    ax.invert_yaxis()
    ax.set_xlabel(unit)
    ax.legend(fontsize=8)
    return figure


def pareto(
    names: Sequence[str],
    sizes: Sequence[float],
    times: Sequence[float],
    increases: Sequence[tuple[float, float, float]],
    best: Sequence[int],
    floor: float = 3e-4,
) -> Figure:
    """Quality over size, and over time; filled marks are on the front of all three. Numbers tell the methods.

    Increases below `floor` are drawn at it, since the axis is logarithmic.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.6), sharey=True)
    for ax, across in ((left, np.array(sizes) / 1e3), (right, np.array(times) * 1e3)):
        labels: dict[tuple[float, float], tuple[tuple[float, float], list[str]]] = {}
        for place, (x, (mean, low, high)) in enumerate(zip(across, increases, strict=True)):
            colour = plots.COLOURS[0] if place in best else plots.COLOURS[1]
            y = max(mean, floor)
            ends = np.clip([low, high], floor, None)
            ax.plot([x, x], ends, color=colour, linewidth=1, linestyle="-")
            ax.plot(
                x,
                y,
                marker="o" if place in best else "s",
                color=colour,
                markerfacecolor=colour if place in best else "white",
                linestyle="",
            )
            here = math.log10(x), math.log10(y)
            near = (at for at in labels if abs(at[0] - here[0]) < 0.03 and abs(at[1] - here[1]) < 0.08)
            labels.setdefault(next(near, here), ((x, y), []))[1].append(str(place + 1))
        for spot, numbers in labels.values():
            ax.annotate(", ".join(numbers), spot, xytext=(5, 4), textcoords="offset points", fontsize=9)
        ax.set(xscale="log", yscale="log")
        ax.grid(which="minor", visible=False)
    left.set(xlabel="bytes of the file, thousand", ylabel="bits per byte more than 16-bit weights in float32")
    right.set_xlabel("one pass over 1,024 bytes of text, ms")
    for ax in (left, right):
        ax.xaxis.set_minor_formatter(plt.NullFormatter())
        low, high = ax.get_xlim()
        ticks = [t for t in (5, 10, 20, 50, 100, 200, 500, 1000, 2000) if low <= t <= high]
        ax.set_xticks(ticks, [str(t) for t in ticks])
    return figure


def labels(sizes: Sequence[int], found: Mapping[str, np.ndarray]) -> Figure:
    """Share right over the number of labelled pieces: a line for each way, the range of its seeds behind it."""
    figure, ax = plt.subplots(figsize=(7, 3.4))
    for place, ((name, shares), marker, colour) in enumerate(
        zip(found.items(), plots.MARKERS, plots.COLOURS, strict=False)
    ):
        ax.fill_between(sizes, shares.min(0), shares.max(0), color=colour, alpha=0.15, linewidth=0)
        ax.plot(sizes, shares.mean(0), marker=marker, color=colour, linestyle=plots.DASHES[place], label=name)
    ax.axhline(1 / 8, color=plots.INK, linewidth=1, linestyle=":", label="guessing")
    ax.set(xscale="log", xlabel="labelled pieces of text", ylabel="share right", ylim=(0, 0.85))
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.legend(fontsize=8)
    return figure


def fragile(found: Mapping[str, np.ndarray], disturbances: Sequence[str]) -> Figure:
    """Share right of each form under each disturbance; bars are means over seeds, whiskers their range."""
    figure, ax = plt.subplots(figsize=(8.4, 3.4))
    width = 0.8 / len(found)
    for place, ((name, shares), style) in enumerate(
        zip(found.items(), plots.bar_styles(len(found)), strict=True)
    ):
        at = np.arange(len(disturbances)) + (place - (len(found) - 1) / 2) * width
        mean = shares.mean(0)
        ends = np.stack([mean - shares.min(0), shares.max(0) - mean])
        ax.bar(at, mean, width, yerr=ends, capsize=2, label=name, **style)
    ax.set_xticks(range(len(disturbances)), disturbances)
    ax.set(ylabel="share of digits read rightly", ylim=(0, 1.3))
    ax.grid(axis="x", visible=False)
    ax.legend(fontsize=8, ncols=3, loc="upper center")
    return figure
