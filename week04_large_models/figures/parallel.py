"""The drawings of lecture 2: cut matrices, tiles, schedules, experts, break-even, intervals; and of placements."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from effdl import plots
from week04_large_models import context, placement, restarts, schedules
from week04_large_models.experts import Learned
from week04_large_models.placement import Found, Graph, Machine
from week04_large_models.schedules import Schedule, Timeline

BLUE, ORANGE, GREEN = plots.COLOURS[:3]
PALE = ["#cfe3f2", "#f6d9c4"]  # of two ranks, with black text on them


def columns_and_rows() -> Figure:
    """An MLP on two ranks: the first matrix cut by columns, the second by rows, one sum at the end."""
    figure, ax = plt.subplots(figsize=(7.4, 1.9))
    _matrix(ax, 0, 1.0, 1.6, ["X"], "one", 2)
    _matrix(ax, 2.2, 0.9, 2.6, ["$A_0$", "$A_1$"], "columns", 2)
    _matrix(ax, 5.6, 1.0, 2.6, ["$Y_0$", "$Y_1$"], "columns", 2)
    _matrix(ax, 8.8, 1.5, 1.6, ["$B_0$", "$B_1$"], "rows", 2)
    for rank, x in enumerate((11.2, 13.4)):
        _box(ax, x, 0.5, 1.6, 1.0, f"$Y_{rank}B_{rank}$", PALE[rank])
    _matrix(ax, 15.6, 1.0, 1.6, ["Z"], "one", 2)
    for x, sign in ((1.9, "·"), (5.2, "→"), (8.5, "·"), (10.8, "="), (13.1, "+"), (15.3, "=")):
        ax.text(x, 1.0, sign, ha="center", va="center", fontsize=13)
    labels = ((3.5, "by columns"), (6.9, "GELU, each rank its own"), (9.6, "by rows"), (13.1, "all-reduce"))
    for x, text in labels:
        ax.text(x, -0.25, text, ha="center", va="center", fontsize=9)
    ax.set(xlim=(-0.2, 17.4), ylim=(-0.5, 2.1))
    ax.axis("off")
    return figure


def _matrix(ax: Axes, x: float, height: float, width: float, names: list[str], cut: str, ranks: int) -> None:
    """A matrix centred at height 1, whole or in parts, one colour for each rank."""
    y = 1.0 - height / 2
    for rank, name in enumerate(names):
        if cut == "one":
            _box(ax, x, y, width, height, name, "white")
        elif cut == "columns":
            _box(ax, x + rank * width / ranks, y, width / ranks, height, name, PALE[rank])
        else:
            _box(ax, x, y + (ranks - 1 - rank) * height / ranks, width, height / ranks, name, PALE[rank])


def _box(ax: Axes, x: float, y: float, width: float, height: float, name: str, colour: str) -> None:
    ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=plots.INK, linewidth=0.8))
    ax.text(x + width / 2, y + height / 2, name, ha="center", va="center", fontsize=10)


def sequence_cuts(ranks: int = 4) -> Figure:
    """What each rank holds along a block: the area of each box is the share of the activations."""
    figure, ax = plt.subplots(figsize=(7.8, 1.9))
    inside = ("columns, heads, rows", "columns, units, rows")
    steps = ["norm", inside[0], "residual, norm", inside[1], "residual"]
    messages = {"tensor": ["", "sum", "", "sum"], "and sequence": ["gather", "scatter", "gather", "scatter"]}
    for row, (name, sent) in enumerate(messages.items()):
        x = 0.0
        for number, step in enumerate(steps):
            width, cut = (3.0, True) if step in inside else (2.0, bool(row))
            height = 0.9 if not cut else 0.9 / ranks + 0.06
            y = -1.5 * row - height / 2
            ax.add_patch(
                Rectangle((x, y), width, height, facecolor=PALE[not cut], edgecolor=plots.INK, linewidth=0.8)
            )
            ax.text(x + width / 2, -1.5 * row, step, ha="center", va="center", fontsize=8)
            x += width
            if number < len(sent):
                ax.text(x + 0.4, -1.5 * row + 0.32, sent[number], ha="center", va="center", fontsize=8)
                ax.annotate(
                    "",
                    (x + 0.8, -1.5 * row),
                    (x, -1.5 * row),
                    arrowprops={"arrowstyle": "-|>", "color": plots.INK},
                )
            x += 0.8
        ax.text(-0.2, -1.5 * row, name, ha="right", va="center", fontsize=9)
    ax.set(xlim=(-1.9, x), ylim=(-2.1, 0.6))
    ax.axis("off")
    return figure


def timelines(drawn: Mapping[str, Timeline]) -> Figure:
    """Schedules over time: a row for each rank, a box for each pass with the number of its micro-batch.

    Forwards are blue, backwards orange; a rank's second stage is lighter than its first.
    """
    figure, axes = plt.subplots(len(drawn), 1, figsize=(6.8, 1.12 * len(drawn)), sharex=True, squeeze=False)
    for (title, timeline), ax in zip(drawn.items(), axes.flat, strict=True):
        ranks = len(timeline.ranks)
        for rank, done in enumerate(timeline.ranks):
            for action, start, end in done:
                _pass(ax, rank, start, end, action, ranks)
        ax.set(ylim=(-ranks + 0.5, 0.5), xlim=(0, max(t.end for t in drawn.values()) * 1.005))
        ax.set_yticks([-rank for rank in range(ranks)], [f"rank {rank}" for rank in range(ranks)], fontsize=8)
        ax.set_title(f"{title}: idle {100 * timeline.bubble:.0f} %", fontsize=9)
        ax.grid(visible=False)
        ax.tick_params(length=0)
    axes.flat[-1].set_xlabel("time, in forwards of a whole rank")
    return figure


def _pass(ax: Axes, rank: int, start: float, end: float, action: schedules.Action, ranks: int) -> None:
    second = action.stage >= ranks
    # Grey tells the four apart too: dark, light, middle, lightest.
    colour = (BLUE, "#9cc7e3") if action.kind == "F" else ("#e9a06f", "#f8e0d0")
    ax.add_patch(
        Rectangle((start, -rank - 0.42), end - start, 0.84, facecolor=colour[second], edgecolor="white")
    )
    dark = action.kind == "F" and not second
    style = {"ha": "center", "va": "center", "fontsize": 6.5, "color": "white" if dark else "black"}
    ax.text((start + end) / 2, -rank, str(action.micro_batch), **style)


def bubble_and_memory(
    ranks: int, made: Mapping[str, Mapping[int, Schedule]], chunks: Mapping[str, int]
) -> Figure:
    """By the number of micro-batches: the idle share (points) on its formula (lines), and what rank 0 keeps."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.2))
    for (name, by_count), marker in zip(made.items(), plots.MARKERS, strict=False):
        counts = sorted(by_count)
        grid = np.linspace(counts[0], counts[-1], 100)
        idle = [schedules.simulate(by_count[m]).bubble for m in counts]
        line = left.plot(grid, schedules.bubble(ranks, grid, chunks[name]))[0]
        left.plot(
            counts, idle, marker, color=line.get_color(), label=name, markersize=7 - 2 * (name == "1F1B")
        )
        peaks = [max(schedules.in_flight(by_count[m])[0]) / chunks[name] for m in counts]
        right.plot(counts, peaks, marker=marker, color=line.get_color(), label=name)
    left.set(xlabel="micro-batches", ylabel="idle share", ylim=(0, None))
    right.set(xlabel="micro-batches", ylabel="micro-batches kept\nby rank 0", ylim=(0, None))
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    return figure


def experts(
    errors: Mapping[str, Sequence[float]], learned: Mapping[str, Learned], window: int = 10
) -> Figure:
    """Error on the pieces by step; on text, the load of the busiest expert. Means over `window` steps."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.5))
    panels = [
        ("eight maps: squared error", errors),
        ("text: busiest expert / fair share", {name: run.busiest for name, run in learned.items()}),
    ]
    for ax, (title, curves) in zip(axes, panels, strict=True):
        for number, (name, values) in enumerate(curves.items()):
            means = np.reshape(values[: len(values) // window * window], (-1, window)).mean(1)
            style = {"color": plots.COLOURS[number], "linestyle": plots.DASHES[number]}
            ax.plot(window * (np.arange(len(means)) + 0.5), means, label=name, **style)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("step")
        ax.legend(fontsize=8)
    axes[0].set_yscale("log")
    axes[1].set_ylim(0, None)
    axes[1].axhline(1, color=plots.INK, linestyle=":", linewidth=1)
    return figure


def tiles_by_rank(ranks: int = 4) -> Figure:
    """Which tiles of causal attention each rank computes, in order and in zig-zag."""
    figure, axes = plt.subplots(1, len(context.ORDERS), figsize=(6.4, 2.6))
    shades = [colormaps["cividis"](0.15 + 0.8 * rank / max(1, ranks - 1)) for rank in range(ranks)]
    for ax, (name, order) in zip(axes, context.ORDERS.items(), strict=True):
        for rank in range(ranks):
            for row in order(rank, ranks):
                for column in range(row + 1):
                    ax.add_patch(
                        Rectangle((column, -row - 1), 1, 1, facecolor=shades[rank], edgecolor="white")
                    )
                ax.text(-0.15, -row - 0.5, f"rank {rank}", ha="right", va="center", fontsize=7)
        counts = [context.tiles(rank, ranks, order) for rank in range(ranks)]
        ax.set_title(f"{name}: {', '.join(map(str, counts))} tiles", fontsize=9)
        ax.set(xlim=(-1.6, 2 * ranks), ylim=(-2 * ranks, 0.2), aspect="equal")
        ax.text(ranks, -2 * ranks - 0.6, "keys", ha="center", fontsize=8)
        ax.axis("off")
    return figure


def break_even(found: Mapping[int, Mapping[str, Sequence[float]]], alone: float, tokens: float) -> Figure:
    """Backward passes by tokens of a rank, with the sum of gradients and without; the sum alone, and break-even."""
    figure, ax = plt.subplots(figsize=(5.2, 2.4))
    counts = list(found)
    for name, marker in zip(("alone", "over the link"), plots.MARKERS, strict=False):
        ax.loglog(
            counts, [np.median(found[n][name]) for n in counts], marker=marker, label=f"backward {name}"
        )
    ax.axhline(alone, color=plots.INK, linestyle="--", linewidth=1, label="the sum by itself")
    ax.axvline(tokens, color=plots.INK, linestyle=":", linewidth=1.2)
    ax.text(tokens * 1.06, ax.get_ylim()[0] * 1.3, f"break-even: {tokens:,.0f}", fontsize=8)
    ax.set(xlabel="tokens of a rank in a step", ylabel="seconds")
    ax.set_xticks(counts, [f"{n:,}" for n in counts])
    ax.minorticks_off()
    figure.legend(fontsize=8, loc="outside right center")
    return figure


def searches(found: Mapping[str, Found], limits: Mapping[str, float], alone: float) -> Figure:
    """Best placement so far by placements tried; dotted lines are limits. Seconds are over those of one device."""
    figure, ax = plt.subplots(figsize=(5.4, 2.3))
    most = max(run.curve[-1][0] for run in found.values())
    for number, (name, run) in enumerate(found.items()):
        tried, best = np.array([*run.curve, (most, run.seconds)]).T
        fits = np.isfinite(best)
        style = {"color": plots.COLOURS[number], "marker": plots.MARKERS[number], "markevery": 0.15}
        ax.step(
            tried[fits], best[fits] / alone, where="post", label=name, **style, linestyle=plots.DASHES[number]
        )
    for name, seconds in limits.items():
        ax.axhline(seconds / alone, color=plots.INK, linestyle=":", linewidth=1.2)
        ax.text(most, seconds / alone, name, ha="right", va="bottom", fontsize=8)
    ax.set(xscale="log", xlabel="placements tried", ylabel="time of a step /\non one device", ylim=(0, None))
    ax.legend(fontsize=8, ncol=2, loc="lower left")
    return figure


def devices(graph: Graph, machine: Machine, placements: Mapping[str, np.ndarray]) -> Figure:
    """What each device runs when: a row for each device, a box for each operation, light to dark by group."""
    figure, axes = plt.subplots(
        len(placements), 1, figsize=(6.2, 1.15 * len(placements)), sharex=True, squeeze=False
    )
    groups = 1 + max(operation.group for operation in graph)
    for (title, where), ax in zip(placements.items(), axes.flat, strict=True):
        (start,), (end,) = placement.simulate(graph, where[None], machine)
        for number, operation in enumerate(graph):
            level = 0.95 - 0.75 * operation.group / max(1, groups - 1)
            corner, width = (start[number], -where[number] - 0.42), end[number] - start[number]
            colour = colormaps["cividis"](level)
            ax.add_patch(Rectangle(corner, width, 0.84, facecolor=colour, edgecolor="white"))
        ax.set(ylim=(-machine.devices + 0.5, 0.5))
        ax.set_yticks([-d for d in range(machine.devices)], [f"device {d}" for d in range(machine.devices)])
        ax.set_title(f"{title}: {end.max():.3g}", fontsize=9)
        ax.grid(visible=False)
        ax.autoscale(axis="x", tight=True)
    axes.flat[-1].set_xlabel("time, in operations")
    return figure


def resharding(numel: int, saved: int, loaded: int) -> Figure:
    """Which stretch of which rank's file goes to which new rank."""
    figure, ax = plt.subplots(figsize=(6.8, 1.4))
    for ranks, y, word in ((saved, 1.0, "saved by"), (loaded, 0.0, "loaded by")):
        for rank in range(ranks):
            start, stop = restarts.shard(numel, ranks, rank)
            _box(ax, start, y, stop - start, 0.35, f"{word} rank {rank}", PALE[y == 0])
    for rank in range(loaded):
        begin, _ = restarts.shard(numel, loaded, rank)
        for piece in restarts.reads(numel, saved, loaded, rank):
            old = restarts.shard(numel, saved, piece.saved_by)[0] + (piece.start + piece.stop) / 2
            new = begin + piece.to + (piece.stop - piece.start) / 2
            ax.annotate("", (new, 0.37), (old, 0.98), arrowprops={"arrowstyle": "-|>", "color": plots.INK})
            ax.text(new + numel / 200, 0.67, f"{piece.stop - piece.start}", fontsize=8, va="center")
    ax.set(xlim=(0, numel), ylim=(-0.05, 1.4))
    ax.axis("off")
    return figure


def intervals(
    simulated: Mapping[float, Sequence[float]], save: float, restart: float, between_failures: float
) -> Figure:
    """Time added by interval between checkpoints: simulated runs (points), formula (line), and sqrt(2 save M)."""
    figure, ax = plt.subplots(figsize=(5.4, 2.5))
    grid = np.geomspace(min(simulated), max(simulated), 100)
    formula = [restarts.overhead(interval, save, restart, between_failures) for interval in grid]
    ax.plot(grid / 60, 100 * np.array(formula), color=BLUE, label="expected")
    for number, (interval, lost) in enumerate(simulated.items()):
        label = "simulated runs" if number == 0 else None
        ax.plot(
            [interval / 60] * len(lost), 100 * np.array(lost), "s", color=ORANGE, markersize=4, label=label
        )
    best = restarts.best_interval(save, between_failures)
    ax.axvline(best / 60, color=plots.INK, linestyle=":", linewidth=1.2)
    ax.text(best / 60 * 1.05, 100 * max(formula) * 0.9, f"{best / 60:.0f} min", fontsize=9)
    ax.set(
        xscale="log", xlabel="work between two checkpoints, minutes", ylabel="time added, %", ylim=(0, None)
    )
    ax.set_xticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
    ax.legend()
    return figure
