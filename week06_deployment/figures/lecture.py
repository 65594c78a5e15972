"""The drawings of lecture 1: a stall, a queue, batches, an overload."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.load import LoadResult
from week06_deployment import queueing

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995)


def stall(results: Mapping[str, LoadResult], quantiles: Mapping[str, Sequence[float]]) -> Figure:
    """Left: each request's latency by the time of its sending. Right: quantiles by each way, at QUANTILES."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.3))
    for (name, result), marker, colour in zip(results.items(), plots.MARKERS, plots.COLOURS, strict=False):
        left.plot(
            result.intended,
            1e3 * (result.done - result.intended),
            marker,
            color=colour,
            markersize=3,
            label=name,
        )
    left.set(xlabel="time of sending, s", ylabel="latency, ms", title="one stall")
    left.legend(fontsize=8, loc="upper right")
    places = range(len(QUANTILES))
    for (name, values), marker in zip(quantiles.items(), plots.MARKERS, strict=False):
        right.plot(places, [1e3 * value for value in values], marker=marker, label=name)
    right.set(yscale="log", xlabel="quantile, %", title="what each reports")
    right.set_xticks(places, [f"{100 * share:g}" for share in QUANTILES])
    figure.legend(*right.get_legend_handles_labels(), fontsize=8, ncol=3, loc="outside lower center")
    return figure


def curve(seconds: float, measured: Mapping[float, float]) -> Figure:
    """Mean latency by utilisation: theory as lines, measured points."""
    figure, ax = plt.subplots(figsize=(6.4, 2.9))
    loads = np.linspace(0.02, 0.94, 100)
    for name, variation in (("service of one length (M/D/1)", 0), ("exponential service (M/M/1)", 1)):
        waits = [queueing.waiting(share / seconds, seconds, variation=variation) for share in loads]
        ax.plot(100 * loads, 1e3 * (seconds + np.array(waits)), label=name)
    ax.plot(
        [100 * share for share in measured],
        [1e3 * value for value in measured.values()],
        "o",
        color=plots.COLOURS[2],
        label="measured, service of one length",
    )
    ax.set(xlabel="utilisation, %", ylabel="mean latency, ms", ylim=(0, 1e3 * seconds * 10))
    ax.legend(fontsize=9)
    return figure


def waits(means: Mapping[str, Mapping[str, float]]) -> Figure:
    """Mean latency in seconds by load and by wait: a panel for each load, a bar for each wait."""
    figure, axes = plt.subplots(1, len(means), figsize=(7.4, 2.5), sharey=True)
    for (load, bars), ax in zip(means.items(), axes, strict=True):
        for row, ((name, value), style) in enumerate(
            zip(bars.items(), plots.bar_styles(len(bars)), strict=True)
        ):
            ax.bar_label(ax.barh(row, 1e3 * value, label=name, **style), fmt="{:,.0f}", padding=2, fontsize=8)
        ax.set_title(load, fontsize=9)
        ax.set_yticks(range(len(bars)), list(bars))
        ax.margins(x=0.2)
        ax.locator_params(axis="x", nbins=4)
        ax.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    figure.supxlabel("mean latency, ms", fontsize=9)
    return figure


def overload(results: Mapping[str, LoadResult], crowd: tuple[float, float], patience: float) -> Figure:
    """Latency of each request over time, and when it was refused; the crowd comes in the shaded time."""
    figure, axes = plt.subplots(1, len(results), figsize=(7.4, 2.6), sharex=True, sharey=True)
    for (name, result), ax in zip(results.items(), axes, strict=True):
        ax.axvspan(*crowd, color=plots.GRID, zorder=0)
        times = result.done - result.intended
        ax.plot(result.intended[result.well], times[result.well], "o", markersize=3, label="answered")
        if result.failed:
            ax.plot(
                result.intended[~result.well],
                times[~result.well],
                "x",
                color=plots.COLOURS[1],
                markersize=4,
                label="refused",
            )
        ax.axhline(patience, color=plots.INK, linestyle=":", linewidth=1)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("time of sending, s")
        ax.legend(fontsize=8)
    axes[0].set_ylabel("latency, s")
    return figure
