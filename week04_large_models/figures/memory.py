"""The drawings of lecture 1: bytes by kind, plans, programs in memory, links, shares of state."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from effdl import plots
from week04_large_models import plans, rematerialise
from week04_large_models.host_transfer import Race, Timeline
from week04_large_models.plans import Choice, Plan, Run
from week04_large_models.rematerialise import Action, Graph

MB = 1e6


def stacked(
    bars: Mapping[str, Mapping[str, float]], unit: str, marks: Mapping[str, float] | None = None
) -> Figure:
    """Stacked bars, one for each name, in the unit of the values; `marks` are measured totals."""
    figure, ax = plt.subplots(figsize=(5.4, 2.3))
    kinds = list(next(iter(bars.values())))
    below = np.zeros(len(bars))
    # The last kind is the largest here: it gets the plain style.
    for kind, style in zip(kinds, reversed(plots.bar_styles(len(kinds))), strict=True):
        heights = np.array([bar[kind] for bar in bars.values()])
        ax.bar(list(bars), heights, bottom=below, width=0.6, label=kind, **style)
        below += heights
    if marks:
        ax.plot(list(marks), list(marks.values()), "D", color=plots.INK, label="measured")
    ax.set_ylabel(unit)
    ax.grid(axis="x", visible=False)
    ax.legend(ncol=2, fontsize=9)
    return figure


def alive(curves: Mapping[str, Sequence[int]]) -> Figure:
    """Bytes alive after each allocation and release, as a share of each call."""
    figure, ax = plt.subplots(figsize=(5.2, 1.9))
    for name, sizes in curves.items():
        width = -(
            -len(sizes) // 250
        )  # the largest of each few: more points than pixels only make a page heavy
        sizes = [max(sizes[start : start + width]) for start in range(0, len(sizes), width)]
        ax.plot(np.linspace(0, 1, len(sizes)), np.array(sizes) / MB, label=name, linewidth=1.2)
    ax.set(xlabel="allocations and releases, from the first to the last", ylabel="MB alive")
    figure.legend(fontsize=9, ncol=2, loc="outside upper right")
    return figure


def visits(drawn: Mapping[str, Plan]) -> Figure:
    """When each module runs: a row for each module, time to the right, a panel for each plan."""
    figure, axes = plt.subplots(len(drawn), 1, figsize=(6.6, 1.25 * len(drawn)), sharex=True)
    colours = {"first": plots.COLOURS[0], "again": plots.COLOURS[1], "backward": plots.COLOURS[2]}
    for (name, plan), ax in zip(drawn.items(), axes, strict=True):
        seen: set[int] = set()
        runs = list(plans.visits(plan))
        for time, (kind, module) in enumerate(runs):
            shown = kind if kind == "backward" else "again" if module in seen else "first"
            seen.add(module)
            hatch = "////" if shown == "again" else ""
            ax.broken_barh(
                [(time, 1)], (-module - 0.5, 1), facecolor=colours[shown], edgecolor="white", hatch=hatch
            )
        ax.set_title(f"{name}: {len(runs)} runs", fontsize=9)
        ax.set_yticks([0, -max(seen)], ["1st", "last"])
        ax.grid(visible=False)
    axes[-1].set_xlabel("time, in runs of a module")
    names = {"first": "forward", "again": "forward, again", "backward": "backward"}
    hatches = {"first": "", "again": "////", "backward": ""}
    handles = [
        Patch(facecolor=colours[k], hatch=hatches[k], edgecolor="white", label=names[k]) for k in names
    ]
    figure.legend(handles=handles, ncol=3, fontsize=9, loc="outside upper right")
    return figure


def by_depth(depths: Sequence[int], peaks: Mapping[str, Sequence[float]]) -> Figure:
    """Peak memory by depth of the chain, with lines of slope one and one half."""
    figure, ax = plt.subplots(figsize=(5.4, 1.9))
    for (name, sizes), marker in zip(peaks.items(), plots.MARKERS, strict=False):
        ax.loglog(depths, np.array(sizes) / MB, marker=marker, label=name)
    ax.set(xlabel="layers", ylabel="peak, MB")
    ax.set_xticks(depths, depths)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def front(choices: Sequence[Choice], rules: Mapping[str, Run], forward: float) -> Figure:
    """Recomputed share of a forward pass against peak bytes: the optimal plans as a curve, rules as points.

    `forward` is the FLOPs of a forward pass.
    """
    figure, ax = plt.subplots(figsize=(5.2, 2.4))
    ax.plot(
        [c.peak / MB for c in choices],
        [c.again / forward for c in choices],
        ".-",
        drawstyle="steps-pre",
        label="optimal plans",
    )
    for (name, run), marker, colour in zip(rules.items(), plots.MARKERS, plots.COLOURS[1:] * 2, strict=False):
        ax.plot(run.predicted / MB, run.again, marker, color=colour, markersize=8, linestyle="", label=name)
    ax.axvline(choices[-1].peak / MB, color=plots.INK, linestyle=":", linewidth=1)
    ax.set(
        xscale="log", xlabel="peak, MB (dotted: no plan needs less)", ylabel="forward passes\ncomputed again"
    )
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("{x:g}")
    ax.legend(fontsize=9)
    return figure


def again_by_limit(limits: Sequence[float], found: Mapping[str, Sequence[float | None]]) -> Figure:
    """Share of FLOPs computed again, by the limit of memory; where a way fails, its line ends."""
    figure, ax = plt.subplots(figsize=(4.8, 1.9))
    for (name, shares), marker in zip(found.items(), plots.MARKERS, strict=False):
        ax.plot(
            limits,
            [np.nan if s is None else 100 * s for s in shares],
            marker=marker,
            label=name,
            clip_on=False,
        )
    ax.set(xlabel="limit, % of all values", ylabel="FLOPs made again, %")
    ax.invert_xaxis()
    ax.legend()
    return figure


def program(graph: Graph, actions: Sequence[Action], limit: int) -> Figure:
    """Which values are in memory after each step of a program, and how much they take."""
    figure, (ax, below) = plt.subplots(
        2, 1, figsize=(6.2, 2.9), sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    began: dict[int, int] = {}
    made: set[int] = set()
    clock, ends = 0, []
    for kind, value, *_ in actions:
        if kind == "drop":
            ends.append((value, began.pop(value), clock))
        elif kind == "make":
            began[value] = clock
            clock += 1
    ends += [(value, start, clock) for value, start in began.items()]
    for value, start, end in sorted(ends, key=lambda bar: bar[1]):
        style = {"facecolor": plots.COLOURS[0 if value <= graph.n else 2]}
        if value in made:
            style = {"facecolor": plots.COLOURS[1], "hatch": "////"}
        made.add(value)
        ax.broken_barh([(start, end - start)], (-value - 0.4, 0.8), edgecolor="white", **style)
    names = [f"$y_{v}$" if v <= graph.n else f"$d_{v - graph.n}$" for v in graph.values]
    ax.set_yticks([-v for v in graph.values], names, fontsize=8)
    ax.grid(axis="y", visible=False)
    sizes, bars = iter(rematerialise.held(graph, list(actions))[1:]), []
    for kind, *_ in actions:
        if kind != "weigh":
            size = next(sizes)
            if kind == "make":
                bars.append(size)
    below.bar(
        np.arange(len(bars)) + 0.5, np.array(bars) / MB, width=1, color=plots.COLOURS[4], edgecolor="white"
    )
    below.axhline(limit / MB, color=plots.INK, linestyle=":")
    below.xaxis.get_major_locator().set_params(integer=True)
    below.set(xlabel="values made, one after the other", ylabel="MB")
    return figure


def links(drawn: Mapping[str, Timeline]) -> Figure:
    """Steps with offloading: the device, and both directions of its link."""
    figure, axes = plt.subplots(len(drawn), 1, figsize=(6.4, 1.15 * len(drawn)), sharex=True)
    for (name, line), ax in zip(drawn.items(), axes, strict=True):
        blocks = 1 + max(i for i, *_ in line.compute)
        for row, (spans, colour) in enumerate(
            zip((line.compute, line.out, line.back), plots.COLOURS, strict=False)
        ):
            for number, (block, begin, end) in enumerate(spans):
                ax.broken_barh(
                    [(begin, end - begin)],
                    (-row - 0.4, 0.8),
                    facecolor=colour,
                    edgecolor="white",
                )
                if row == 0:
                    label = f"{block}" if number < blocks else f"{block}'"
                    ax.text((begin + end) / 2, 0, label, ha="center", va="center", color="white", fontsize=7)
        ax.set_yticks([0, -1, -2], ["device", "out", "back"])
        ax.set_title(f"{name}: {line.end:.0f}", fontsize=9)
        ax.grid(axis="y", visible=False)
    axes[-1].set_xlabel("time; a block's forward pass takes 1")
    return figure


def slow_down(race: Race) -> Figure:
    """Time of a step over that without offloading, by the link's bandwidth as a multiple of the one that keeps up."""
    figure, ax = plt.subplots(figsize=(4.6, 1.9))
    ax.loglog(race.shares, race.model, label="model")
    ax.loglog(race.shares, race.measured, "o", color=plots.INK, label="measured")
    ax.set(xlabel="bandwidth, times that of break-even", ylabel="times as long as\nwithout offloading")
    ax.set_xticks(race.shares, [f"{share:g}" for share in race.shares])
    ax.set_yticks([1, 2, 4], ["1", "2", "4"])
    ax.minorticks_off()
    ax.legend()
    return figure


def zero(kept: Mapping[int, Mapping[int, float]], formula: Mapping[int, Sequence[float]]) -> Figure:
    """Bytes of state of each parameter, by ranks: formulas as lines, measured as points, for each stage."""
    figure, ax = plt.subplots(figsize=(5.4, 2.1))
    for (stage, by_ranks), marker, colour, dash in zip(
        kept.items(), plots.MARKERS, plots.COLOURS, plots.DASHES, strict=False
    ):
        ranks = list(by_ranks)
        ax.plot(ranks, formula[stage], color=colour, linestyle=dash)
        name = f"stage {stage}" if stage else "stage 0: all whole"
        ax.plot(ranks, list(by_ranks.values()), marker, color=colour, linestyle="", label=name)
    ax.set(xlabel="ranks", ylabel="bytes of state\nfor each parameter", xscale="log", ylim=(0, 17))
    ax.set_xticks(ranks, ranks)
    ax.minorticks_off()
    figure.legend(fontsize=9, loc="outside right center")
    return figure
