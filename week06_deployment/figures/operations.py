"""The drawings of lecture 2: layers of images, rebuilds, replicas, an incident, histograms, costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.bench import Comparison


def by_part(layers: Sequence[Any]) -> list[tuple[str, int]]:
    """Layers of an image under the names of what is in them; those below a hundredth of it are left out."""
    whole, found = sum(layer.nbytes for layer in layers), []
    for place, layer in enumerate(layers):
        words = layer.instruction
        if "pip install" in words:
            name = "packages"
        elif place == 0:
            name = "slim base"
        elif words.startswith("COPY") and words.endswith("/"):
            name = "compiler files"
        else:
            name = "repository"
        if layer.nbytes > whole / 100:
            found.append((name, layer.nbytes))
    return found


def images(sizes: Mapping[str, Sequence[tuple[str, int]]], rebuilds: Comparison) -> Figure:
    """Megabytes of each image, a piece for each layer; seconds until a changed line is in a new image."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.8), width_ratios=[2, 1])
    names = [name for layers in sizes.values() for name, _ in layers]
    styles = dict(zip(dict.fromkeys(names), plots.bar_styles(len(set(names))), strict=True))
    for row, layers in enumerate(sizes.values()):
        start, drawn = 0.0, set()
        for name, nbytes in layers:
            label = name if name not in drawn and name not in left.get_legend_handles_labels()[1] else None
            left.barh(row, nbytes / 1e6, left=start, height=0.5, label=label, **styles[name])
            start += nbytes / 1e6
            drawn.add(name)
        left.annotate(
            f"{start:,.0f} MB", (start, row), xytext=(4, 0), textcoords="offset points", va="center"
        )
    left.set_yticks(range(len(sizes)), list(sizes))
    left.invert_yaxis()
    left.margins(x=0.18)
    left.set(xlabel="MB of layers, not compressed", title="size")
    for row, name in enumerate(sizes):
        timing = rebuilds.timings[name]
        error = [[max(timing.median - timing.low, 0)], [max(timing.high - timing.median, 0)]]
        right.barh(row, timing.median, xerr=error, height=0.5, capsize=3, color=plots.COLOURS[0])
    right.set_yticks(range(len(sizes)), [""] * len(sizes))
    right.invert_yaxis()
    right.set(xlabel="seconds", title="rebuild")
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, ncol=3, loc="outside lower center")
    return figure


def replicas(runs: Mapping[str, Any], high: float, most: float = 300.0) -> Figure:
    """Ready pods, and the wait of those who arrive, of simulated runs, by seconds after the jump."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.6))
    for (name, run), colour, dash in zip(runs.items(), plots.COLOURS, plots.DASHES, strict=False):
        seconds = np.array(run.seconds) - 60
        axes[0].step(seconds, run.ready, where="post", color=colour, linestyle=dash, label=name)
        axes[1].plot(seconds, run.waits(), color=colour, linestyle=dash)
    needed = high / next(iter(runs.values())).per_pod
    axes[0].axhline(needed, color=plots.INK, linewidth=0.8, linestyle=":")
    axes[0].annotate(
        "needed", (most, needed), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8
    )
    axes[0].set(ylabel="pods that are ready")
    axes[1].set(ylabel="wait, seconds")
    for ax in axes:
        ax.set(xlabel="seconds after the jump", xlim=(-60, most))
        ax.set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, ncol=2, loc="outside lower center")
    return figure


def incident(found: Any) -> Figure:
    """What Prometheus said over time: rates of answers and of errors, and which alert fired."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(7.2, 3.6), sharex=True, height_ratios=[3, 1])
    for name, colour, dash in zip(("all", "errors"), plots.COLOURS, plots.DASHES, strict=False):
        times, values = found.history.get(name, ([], []))
        above.plot(times, values, color=colour, linestyle=dash, label=f"{name}, by Prometheus")
    end = max((times[-1] for times, _ in found.history.values() if times), default=1.0)
    moments = {"errors begin": found.faults_began, "killed": found.killed}
    for name, moment in moments.items():
        for ax in (above, below):
            ax.axvline(moment, color=plots.INK, linewidth=0.8, linestyle=":")
        above.annotate(name, (moment, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -9), fontsize=8,
                       textcoords="offset points")  # fmt: skip
    above.set(ylabel="answers a second")
    above.set_ylim(0, 1.25 * max(found.history.get("all", ([], [1.0]))[1]))
    above.legend(fontsize=8, loc=(0.27, 0.3))
    for row, (name, style) in enumerate(zip(("ManyErrors", "Gone"), plots.bar_styles(2), strict=True)):
        times = found.history.get(f"{name} fires", ([], []))[0]
        if times:
            below.barh(row, times[-1] - times[0], left=times[0], height=0.6, **style)
    below.set_yticks([0, 1], ["ManyErrors", "Gone"])
    below.set_ylim(1.6, -0.6)
    below.grid(axis="y", visible=False)
    below.set(xlabel="seconds", xlim=(0, end), title="alerts that fire")
    return figure


def buckets(
    values: np.ndarray, bounds: Mapping[str, Sequence[float]], guesses: Mapping[str, float]
) -> Figure:
    """Known latencies in two sets of buckets; each panel has the true p99 and what the buckets make of it."""
    figure, axes = plt.subplots(1, len(bounds), figsize=(7.2, 2.4), sharey=True)
    truth = np.quantile(values, 0.99)
    for (name, edges), ax in zip(bounds.items(), axes, strict=True):
        shares = np.histogram(values, [0, *edges])[0] / len(values)
        left = np.array([0, *edges[:-1]])
        ax.bar(left, shares, np.diff([0, *edges]), align="edge", edgecolor="white", color=plots.COLOURS[4])
        ax.axvline(truth, color=plots.INK, label=f"p99: {1e3 * truth:.0f} ms")
        ax.axvline(
            guesses[name],
            color=plots.COLOURS[1],
            linestyle="--",
            label=f"asked: {1e3 * guesses[name]:.0f} ms",
        )
        ax.set(xlim=(0, 0.4), xlabel="seconds", title=name)
        ax.legend(fontsize=8)
    axes[0].set_ylabel("share of requests")
    return figure


def bills(sizes: Sequence[float], costs: Mapping[str, Sequence[float]]) -> Figure:
    """US dollars for a million requests by the bytes of an answer, a line for each part."""
    figure, ax = plt.subplots(figsize=(6.4, 2.6))
    for (name, values), marker in zip(costs.items(), plots.MARKERS, strict=False):
        ax.loglog(sizes, values, marker=marker, label=name)
    ax.set(xlabel="bytes of an answer", ylabel="US dollars for\na million requests")
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def spot(
    every: Sequence[float], stretched: Mapping[str, Sequence[float]], limits: Mapping[str, float]
) -> Figure:
    """By how much interruptions stretch a job, and where a spot machine stops paying."""
    figure, ax = plt.subplots(figsize=(6.4, 2.6))
    for (name, values), marker in zip(stretched.items(), plots.MARKERS, strict=False):
        ax.semilogx(every, values, marker=marker, label=name)
    for name, value in limits.items():
        ax.axhline(value, color=plots.INK, linewidth=0.8, linestyle=":")
        ax.annotate(name, (1.01, value), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    ax.set(
        xlabel="hours between two interruptions", ylabel="machine hours for\nan hour of work", ylim=(0.9, 3)
    )
    ax.set_xticks(every, [f"{hours:g}" for hours in every])
    ax.minorticks_off()
    ax.legend(fontsize=8, loc="upper right")
    return figure
