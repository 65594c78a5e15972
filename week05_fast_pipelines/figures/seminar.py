"""The drawings of the seminar: what each cure saves, in two orders."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from week05_fast_pipelines.hunt import Saving


def waterfalls(orders: Mapping[str, Sequence[Saving]]) -> Figure:
    """For each order of the cures a waterfall: seconds of a pass before, what each cure takes away, what is left."""
    figure, axes = plt.subplots(1, len(orders), figsize=(8.6, 3.4), sharex=True)
    for ax, (title, steps) in zip(axes, orders.items(), strict=True):
        rows = ["before", *(step.reason for step in steps), "after"]
        plain, hatched = plots.bar_styles(2)
        ax.barh([0, len(rows) - 1], [steps[0].before, steps[-1].after], height=0.65, **plain)
        for row, step in enumerate(steps, start=1):
            ax.barh(row, step.saved, left=step.after, height=0.65, **hatched)
            end = max(step.before, step.after)
            ax.text(end, row, f" {step.saved:.2f}", va="center", fontsize=8)
        for row, value in ((0, steps[0].before), (len(rows) - 1, steps[-1].after)):
            ax.text(value, row, f" {value:.2f} s", va="center", fontsize=8)
        ax.set_yticks(range(len(rows)), rows, fontsize=9)
        ax.invert_yaxis()
        ax.set(title=title, xlabel="seconds of a pass", xlim=(0, 1.18 * steps[0].before))
        ax.grid(axis="y", visible=False)
    return figure
