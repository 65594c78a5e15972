"""The drawings of the seminar: what each cure saves, in two orders."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from week05_fast_pipelines.hunt import Saving


def waterfalls(orders: Mapping[str, Sequence[Saving]]) -> Figure:
    """A waterfall for each order of the cures: milliseconds of a pass before, what each takes away, what is left."""
    figure, axes = plt.subplots(1, len(orders), figsize=(8.6, 3.4), sharex=True)
    for ax, (title, steps) in zip(axes, orders.items(), strict=True):
        rows = ["before", *(step.reason for step in steps), "after"]
        plain, hatched = plots.bar_styles(2)
        whole = [(0, 1e3 * steps[0].before), (len(rows) - 1, 1e3 * steps[-1].after)]
        ax.barh(*zip(*whole, strict=True), height=0.65, **plain)
        for row, step in enumerate(steps, start=1):
            ax.barh(row, 1e3 * step.saved, left=1e3 * step.after, height=0.65, **hatched)
            end = 1e3 * max(step.before, step.after)
            ax.text(end, row, f" {round(1e3 * step.saved):d}", va="center", fontsize=8)
        for row, value in whole:
            ax.text(value, row, f" {value:.0f} ms", va="center", fontsize=8)
        ax.set_yticks(range(len(rows)), rows, fontsize=9)
        ax.invert_yaxis()
        ax.set(title=title, xlabel="milliseconds of a pass", xlim=(0, 1.18 * whole[0][1]))
        ax.grid(axis="y", visible=False)
    return figure
