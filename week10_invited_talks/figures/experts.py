"""The drawings of the third companion: what a capacity costs, and which share of the experts a batch reads."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots


def capacity(factors: Sequence[float], bills: Mapping[float, Sequence[tuple[float, float]]]) -> Figure:
    """Share of choices dropped and of places empty by capacity factor, for each skew: a panel each."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.8), sharey=True)
    for place, (ax, title) in enumerate(zip(axes, ("choices dropped", "places empty"), strict=True)):
        for (skew, values), marker in zip(bills.items(), plots.MARKERS, strict=False):
            ax.plot(factors, [100 * each[place] for each in values], marker=marker, label=f"skew {skew:g}")
        ax.set(title=title, xlabel="capacity, in fair shares", xscale="log")
        ax.set_xticks(factors, [f"{f:g}" for f in factors])
        ax.minorticks_off()
    axes[0].set(ylabel="%", ylim=(0, 100))
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside right center")
    return figure


def touched(
    batches: Sequence[int], shares: Mapping[str, Sequence[float]], per_token: Mapping[str, Sequence[float]]
) -> Figure:
    """By the tokens of a batch: the share of experts touched, and experts read for each token."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.8, 2.8))
    for ax, curves in ((left, shares), (right, per_token)):
        for (name, values), marker in zip(curves.items(), plots.MARKERS, strict=False):
            ax.plot(batches, values, marker=marker, label=name)
        ax.set(xscale="log", xlabel="tokens in the batch")
        ax.set_xticks(batches, [str(b) for b in batches], fontsize=8)
        ax.minorticks_off()
    left.set(title="experts touched", ylabel="share", ylim=(0, 1.03))
    right.set(title="experts read for a token", yscale="log", ylabel="experts")
    right.minorticks_off()
    right.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, loc="outside right center")
    return figure
