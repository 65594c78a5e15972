"""The drawings of the seminar: each function takes what a cell measured and returns a figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.bench import Ratio
from week01_intro.async_device import predict_issued
from week01_intro.ranking import PROTOCOLS, RIGHT, UNDECIDED, WRONG, Trial, together


def launches_and_kernels(returned: list[float], kernels: list[tuple[float, float]]) -> Figure:
    """Draw what `async_device.timeline` returned: launches above, kernels below. Returns the figure."""
    fig, ax = plt.subplots(figsize=(9, 2.2))
    spans, end = [(begin, end - begin) for begin, end in kernels], kernels[-1][1]
    ax.broken_barh(spans[::2], (0, 0.7), facecolors=plots.COLOURS[0], edgecolor="white")
    ax.broken_barh(spans[1::2], (0, 0.7), facecolors=plots.COLOURS[4], edgecolor="white")
    ax.vlines(returned, 1, 1.7, color=plots.INK, linewidth=1.5)
    ax.axvline(end, color=plots.COLOURS[1], linestyle="--", marker="")
    ax.text(end, 1.85, "synchronize() returns ", ha="right", color=plots.COLOURS[1])
    ax.set_yticks([0.35, 1.35], ["device: one bar\nis one kernel", "host: one line is\none launch returning"])
    ax.set(xlabel="time, ms", ylim=(-0.15, 2.3))
    ax.grid(axis="y", visible=False)
    return fig


def reported_times(shares: dict[int, float], launch: float, kernel: float, depth: int) -> Figure:
    """True, predicted and reported time against the number of launches. Returns the figure.

    ``shares`` holds, by number of launches, the share of the true time that the clock showed.
    """
    numbers = range(1, max(shares) + 1)
    predicted = [1e3 * predict_issued(n, launch, kernel, depth) for n in numbers]
    reported = [1e3 * n * kernel * share for n, share in shares.items()]
    fig, ax = plt.subplots()
    ax.plot(numbers, [1e3 * n * kernel for n in numbers], marker="", label="true time, n k")
    ax.plot(numbers, predicted, marker="", label="what the formula says the clock shows")
    ax.plot(list(shares), reported, "s", color=plots.INK, markersize=6, label="what the clock shows")
    ax.axvline(depth + 1, ymax=0.5, color=plots.INK, linestyle=":", marker="", linewidth=1)
    ax.text(depth + 1, 0.5, "queue full", transform=ax.get_xaxis_transform(), ha="center")
    ax.set(xlabel="kernels launched, n", ylabel="time, ms")
    ax.legend(loc="upper left")
    return fig


def reported_spread(reports: dict[str, np.ndarray]) -> Figure:
    """Histograms of reported times (seconds) on a log axis in ms, one for each name. Returns the figure."""
    fig, ax = plt.subplots()
    everything = 1e3 * np.concatenate(list(reports.values()))
    edges = np.geomspace(0.9 * everything.min(), 1.1 * everything.max(), 50)
    for (name, values), style in zip(reports.items(), plots.bar_styles(2)[::-1], strict=True):
        ax.hist(1e3 * values, edges, label=name, alpha=0.8, **style)
    ax.set(xscale="log", xlabel="reported time of one call, ms (log scale)", ylabel="benchmarks")
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if edges[0] < tick < edges[-1]]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.legend()
    return fig


def protocols(trials: Sequence[Trial], verdicts: dict[str, list[str]], truth: float) -> Figure:
    """Left: verdicts of every protocol. Right: the ratios it reported, one mark a trial. Returns the figure."""
    looks = {
        RIGHT: ({"color": plots.COLOURS[0]}, "white", "o"),
        UNDECIDED: ({"color": plots.GRID, "hatch": "...", "edgecolor": "white"}, plots.INK, "o"),
        WRONG: ({"color": plots.COLOURS[1], "hatch": "///", "edgecolor": "white"}, "white", "x"),
    }
    fig, (bars, marks) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    scatter = np.random.default_rng(0)
    for row, protocol in enumerate(PROTOCOLS):
        left = 0.0
        grouped = together(trials, protocol.trials)
        ratios = np.asarray([protocol.estimate(trial) for trial in grouped]).clip(0.46, 2.5)
        heights = row + scatter.uniform(-0.25, 0.25, len(ratios))
        for kind, (style, ink, marker) in looks.items():
            here = np.asarray(verdicts[protocol.name]) == kind
            share = 100 * here.mean()
            bars.barh(row, share, left=left, height=0.66, label="" if row else kind, **style)
            if share >= 4:
                box = {"facecolor": style["color"], "linewidth": 0, "pad": 1.5}
                place = {"ha": "center", "va": "center", "fontweight": "bold"}
                bars.text(left + share / 2, row, f"{share:.0f}", color=ink, bbox=box, **place)
            left += share
            colour = "#8a9099" if kind == UNDECIDED else style["color"]
            marks.plot(ratios[here], heights[here], marker, markersize=3.5, color=colour,
                       markerfacecolor="none" if kind == UNDECIDED else colour)  # fmt: skip
    bars.set_yticks(range(len(PROTOCOLS)), [protocol.name for protocol in PROTOCOLS])
    bars.invert_yaxis()
    bars.set(xlabel="share of trials, %", xlim=(0, 100))
    bars.grid(visible=False)
    bars.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=9)
    marks.set(xscale="log", xlim=(0.44, 2.6), xlabel="ratio B / A that was reported, log scale")
    marks.set_xticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
    marks.minorticks_off()
    marks.axvline(truth, color=plots.INK, linestyle="-", marker="", linewidth=1.2)
    marks.set_title(f"the line is the truth, {truth:.2f}", fontsize=10, fontweight="normal")
    marks.grid(axis="y", visible=False)
    return fig


def dot_product_ratios(lengths: Sequence[int], ratios: Mapping[str, Sequence[Ratio]], rows: int) -> Figure:
    """Time of other versions over time of bmm for several lengths, with intervals. Returns the figure."""
    fig, ax = plt.subplots()
    for (name, line), marker in zip(ratios.items(), plots.MARKERS, strict=False):
        values = [ratio.value for ratio in line]
        below = [ratio.value - ratio.low for ratio in line]
        above = [ratio.high - ratio.value for ratio in line]
        ax.errorbar(lengths, values, yerr=[below, above], capsize=4, marker=marker, label=f"{name} over bmm")
    ax.axhline(2, color=plots.COLOURS[2], linestyle="--", marker="", label="what the bytes predict")
    ax.axhline(1, color=plots.INK, linestyle=":", marker="", label="as fast as bmm")
    ax.set(xscale="log", yscale="log", ylabel="time / time of bmm")
    ax.set_xlabel(f"length d of the {rows:,} pairs of vectors")
    shown = [d for d in lengths if d != 399]
    ax.set_xticks(shown, [str(d) for d in shown])
    ax.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    ax.minorticks_off()
    ax.legend()
    return fig


def sum_errors(
    sizes: Sequence[int], errors: dict[str, list[float]], bounds: dict[str, list[float]]
) -> Figure:
    """Relative errors of ways to sum against the number of terms, with dotted bounds. Returns the figure."""
    fig, ax = plt.subplots(figsize=(7, 4))
    for (name, found), marker in zip(errors.items(), plots.MARKERS, strict=False):
        ax.plot(sizes, np.maximum(found, 1e-9), marker=marker, label=name)
    for (name, limit), colour in zip(bounds.items(), plots.COLOURS, strict=False):
        ax.plot(sizes, limit, color=colour, linestyle=":", marker="", label=f"bound for m = {name}")
    ax.set(xscale="log", yscale="log", xlabel="numbers added, n", ylabel="relative error of the float32 sum")
    ax.legend(ncols=2, fontsize=9)
    return fig


def power_differences(
    powers: Sequence[int], differences: dict[str, list[float]], bound: list[float]
) -> Figure:
    """Relative differences between matrix powers against the exponent, with the bound. Returns the figure."""
    fig, ax = plt.subplots()
    for (name, values), marker in zip(differences.items(), plots.MARKERS, strict=False):
        ax.plot(powers, values, marker=marker, label=name)
    ax.plot(powers, bound, color=plots.INK, linestyle=":", marker="", label="bound, any order")
    ax.set(xscale="log", yscale="log", xlabel="power of the matrix", ylabel="largest relative difference")
    ax.set_xticks(powers, [str(p) for p in powers])
    ax.minorticks_off()
    ax.legend()
    return fig
