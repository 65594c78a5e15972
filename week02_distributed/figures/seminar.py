"""The plots and tables of the seminar: each function takes what a cell measured and gives a figure or a table."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from effdl import plots
from effdl.notebook import Table
from week02_distributed.hogwild import Run
from week02_distributed.parameter_server import ServerRun


def zipf(frequencies: Sequence[int], kept: int) -> Figure:
    """How often words occur, most frequent first; a dotted line after the words that are kept."""
    figure, ax = plt.subplots(figsize=(7, 2.8))
    ax.loglog(np.arange(1, len(frequencies) + 1), frequencies)
    ax.axvline(kept, color=plots.INK, linestyle=":", linewidth=1)
    ax.set(xlabel="rank of the word", ylabel="how often it occurs")
    return figure


def lost_updates(sizes: Sequence[int], lost: Sequence[float], curves: Mapping[str, np.ndarray]) -> Figure:
    """Left: share of the updates lost by batch size. Right: loss, recorded at every tenth step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3))
    left.semilogx(sizes, 100 * np.array(lost), marker="o", base=2)
    left.set(xlabel="pairs in a batch", ylabel="updates lost, %", ylim=(0, 100))
    for name, losses in curves.items():
        right.plot(10 * np.arange(len(losses)), losses, label=name)
    right.set(xlabel="step")
    _loss_axis(right, top=0.5)
    right.legend(fontsize=8)
    return figure


def _loss_axis(ax: Axes, top: float) -> None:
    """A logarithmic axis with ticks that a reader can read."""
    ax.set(yscale="log", ylabel="loss on a sample", ylim=(None, top))
    ax.set_yticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
    ax.minorticks_off()


def loss_over_time(runs: Mapping[int, Sequence[Run]], target: float) -> Figure:
    """Loss over seconds of several runs per number of workers, and the loss at which times are compared."""
    figure, ax = plt.subplots(figsize=(7, 3))
    for workers, style in zip(runs, ("-", "--"), strict=True):
        for number, run in enumerate(runs[workers]):
            name = None if number else f"{workers} worker{'s' * (workers > 1)}"
            seconds, _, losses = run.history.T
            ax.plot(seconds, losses, style, color=plots.COLOURS[workers - 1], label=name)
    ax.axhline(target, color=plots.INK, linewidth=0.8)
    ax.set(xlabel="seconds")
    _loss_axis(ax, top=0.4)
    ax.legend()
    return figure


def with_and_without_server(shared: Run, served: Mapping[str, ServerRun]) -> Figure:
    """Left: loss over seconds in shared memory and through a server. Right: staleness of the server's pushes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3), width_ratios=(3, 2))
    for name, run in {"shared memory": shared, **{f"server, {n}": r for n, r in served.items()}}.items():
        left.plot(run.history[:, 0], run.history[:, 2], label=name)
    left.set(xlabel="seconds")
    _loss_axis(left, top=0.4)
    left.legend(fontsize=8)
    for number, ((name, run), style) in enumerate(zip(served.items(), plots.bar_styles(2), strict=True)):
        ages, count = np.unique(run.staleness, return_counts=True)
        right.bar(ages + 0.4 * number - 0.2, 100 * count / count.sum(), 0.38, label=name, **style)
    right.set(xlabel="staleness of a push", ylabel="pushes, %", ylim=(0, 100))
    right.legend(fontsize=8)
    return figure


def price_table(shared: Run, served: Mapping[str, ServerRun], trained: int) -> Table:
    """Seconds, final loss and bytes sent per trained pair, with shared memory and through a server."""
    rows = [("shared memory", f"{shared.seconds:.1f}", f"{shared.history[-1, 2]:.4f}", "0")]
    for name, run in served.items():
        loss, per_pair = run.history[-1, 2], run.payload / trained
        rows.append((f"server, {name}", f"{run.seconds:.1f}", f"{loss:.4f}", f"{per_pair:.0f}"))
    return Table(["two workers", "seconds", "final loss", "bytes sent per pair"], rows)


PLACES = [
    (5, -3, "left"),
    (-5, -3, "right"),
    (5, 6, "left"),
    (5, -12, "left"),
    (-5, 6, "right"),
    (-5, -12, "right"),
]
"""Where a label may stand beside its point: shift in points, and which end of the word is at the point."""


def word_map(places: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Words in the plane, a marker for each group; {group: {word: (x, y)}}."""
    figure, ax = plt.subplots(figsize=(7, 4.2))
    for (name, group), mark in zip(places.items(), plots.MARKERS, strict=False):
        ax.scatter(*np.array(list(group.values())).T, marker=mark, label=name)
    ax.set(xticks=[], yticks=[])
    ax.margins(x=0.1)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.canvas.draw()  # now the points have their places in pixels
    taken = [
        Bbox.from_bounds(*(ax.transData.transform(at) - 4), 8, 8)
        for g in places.values()
        for at in g.values()
    ]
    for group in places.values():
        for word, at in group.items():
            taken.append(_label(ax, word, at, taken))
    return figure


def _label(ax: Axes, word: str, at: np.ndarray, taken: Sequence[Bbox]) -> Bbox:
    """Write a word beside its point, at the first of `PLACES` that is free, or at the last; its box in pixels."""
    for x, y, side in PLACES:
        text = ax.annotate(word, at, xytext=(x, y), textcoords="offset points", fontsize=8, ha=side)
        box = text.get_window_extent()
        if not box.count_overlaps(taken) or (x, y, side) == PLACES[-1]:
            break
        text.remove()
    return box
