"""The drawings of lecture 1: what survives a kill, what logging costs, what runs again, how far runs drift apart."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.bench import Ratio


def survived(found: Mapping[str, Mapping[str, int]]) -> Figure:
    """Steps that can be read after a SIGKILL, of those that had been acknowledged."""
    figure, ax = plt.subplots(figsize=(6.4, 2.1))
    shares = [100 * min(row["read"] / row["acknowledged"], 1) for row in found.values()]
    bars = ax.barh(list(found), shares, **plots.bar_styles(1)[0])
    labels = [f"{row['read']} of {row['acknowledged']}" for row in found.values()]
    ax.bar_label(bars, labels, padding=3, fontsize=9)
    ax.set(xlabel="% of the acknowledged steps that can be read", xlim=(0, 125))
    ax.set_xticks(range(0, 101, 25))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return figure


def costs(ratios: Mapping[str, Ratio]) -> Figure:
    """What logging one step costs, in steps of training; logarithmic."""
    figure, ax = plt.subplots(figsize=(6.4, 2.1))
    values = [ratio.value for ratio in ratios.values()]
    error = np.array([[r.value - r.low, r.high - r.value] for r in ratios.values()]).T.clip(min=0)
    bars = ax.barh(list(ratios), values, xerr=error, left=0, capsize=3, **plots.bar_styles(1)[0])
    ax.bar_label(bars, [f"{value:.3g}" for value in values], padding=6, fontsize=9)
    ax.axvline(1, color=plots.INK, linewidth=0.8)
    ax.set(xscale="log", xlabel="time to log a step, over the time of a step of training")
    ax.set_xlim(right=max(values) * 12)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return figure


def edits(needed: Mapping[str, frozenset[str]], ran: Mapping[str, Mapping[str, Sequence[str]]]) -> Figure:
    """For each edit and each runner how many stages ran: as needed, too many, or too few (a stale result)."""
    figure, ax = plt.subplots(figsize=(6.6, 4.3))
    styles = {
        "as needed": (plots.COLOURS[4], ""),
        "more than needed": ("#ffffff", "///"),
        "too few: a stale result": (plots.COLOURS[1], "xxx"),
    }
    for column, runner in enumerate(ran):
        for row, (edit, wanted) in enumerate(needed.items()):
            found = set(ran[runner][edit])
            kind = list(styles)[0 if found == wanted else 2 if wanted - found else 1]
            colour, hatch = styles[kind]
            box = plt.Rectangle((column, row), 1, 1, facecolor=colour, hatch=hatch, edgecolor=plots.GRID)
            ax.add_patch(box)
            text = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
            ax.text(column + 0.5, row + 0.5, len(found), ha="center", va="center", fontsize=9, bbox=text)
    ax.set(xlim=(0, len(ran)), ylim=(len(needed), 0))
    ax.set_xticks(np.arange(len(ran)) + 0.5, list(ran))
    ax.set_yticks(np.arange(len(needed)) + 0.5, list(needed))
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    legend = [
        plt.Rectangle((0, 0), 1, 1, facecolor=colour, hatch=hatch, edgecolor=plots.INK, label=kind)
        for kind, (colour, hatch) in styles.items()
    ]
    figure.legend(handles=legend, fontsize=9, loc="outside lower center", ncols=3)
    return figure


def stored(sizes: Mapping[str, Sequence[float]]) -> Figure:
    """Bytes in a store by the number of versions, over the bytes of the first version."""
    figure, ax = plt.subplots(figsize=(6.4, 2.5))
    for (name, values), marker in zip(sizes.items(), plots.MARKERS, strict=False):
        ax.plot(range(1, len(values) + 1), values, marker=marker, label=name)
    ax.set(xlabel="versions", ylabel="bytes stored,\nin first versions", ylim=(0, None))
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def apart(panels: Mapping[str, Mapping[str, Mapping[int, float]]]) -> Figure:
    """Relative distance of the weights of two runs by step, a panel for each learning rate; logarithmic."""
    figure, axes = plt.subplots(1, len(panels), figsize=(7, 2.9), sharey=True)
    drawn = {
        name for lines in panels.values() for name, distances in lines.items() if any(distances.values())
    }
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        lines = {name: distances for name, distances in lines.items() if name in drawn}
        for (name, distances), marker in zip(lines.items(), plots.MARKERS, strict=False):
            points = {step: d for step, d in distances.items() if step > 0 and d > 0}
            ax.loglog(list(points), list(points.values()), marker=marker, markersize=4, label=name)
        ax.set(title=title, xlabel="steps", ylim=(1e-11, 10))
    axes[0].set(ylabel="relative distance of weights")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3)
    return figure


def resumed(whole: Sequence[float], runs: Mapping[str, Sequence[float]], start: int) -> Figure:
    """How far the loss of a resumed run is from that of the uninterrupted one, by step, from the checkpoint on."""
    figure, ax = plt.subplots(figsize=(6.8, 2.7))
    steps = range(start + 1, len(whole) + 1)
    for (name, losses), marker in zip(runs.items(), plots.MARKERS, strict=False):
        away = [abs(a - b) for a, b in zip(whole[start:], losses[start:], strict=True)]
        ax.plot(steps, away, marker=marker, markersize=3.5, linewidth=1, label=name)
    ax.set(xlabel="step", ylabel="difference of the loss", yscale="symlog")
    ax.set_yscale("symlog", linthresh=1e-3)
    ax.set_ylim(bottom=0)
    figure.legend(fontsize=8, loc="outside right center")
    return figure
