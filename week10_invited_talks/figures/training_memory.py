"""The drawings of the first companion: bytes kept and peak by encoding, bytes and time by what is computed again."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots

MIB = 1 << 20


def kept_and_peak(found: Mapping[str, Sequence[tuple[int, int]]], depths: Sequence[int]) -> Figure:
    """Bytes kept and the peak of a step, for each way and depth: a panel each."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.8), sharey=True)
    titles = ("kept for backward", "peak of the step")
    for place, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        for (name, values), marker in zip(found.items(), plots.MARKERS, strict=False):
            ax.plot(depths, [each[place] / MIB for each in values], marker=marker, label=name)
        ax.set(title=title, xlabel="convolutions in a stage")
        ax.set_xticks(depths, [str(n) for n in depths])
    axes[0].set(ylabel="MiB", ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside right center")
    return figure


def offloaded(rows: Mapping[str, tuple[float, float, float]]) -> Figure:
    """GiB of feature maps with all kept, the largest and the average with offloading, for each network."""
    figure, ax = plt.subplots(figsize=(6.4, 2.6))
    names = ("all kept", "offloaded, largest", "offloaded, average")
    for place, (name, style) in enumerate(zip(names, plots.bar_styles(3), strict=True)):
        where = [row + 0.27 * (place - 1) for row in range(len(rows))]
        bars = ax.barh(where, [values[place] for values in rows.values()], height=0.25, label=name, **style)
        ax.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="GiB", xscale="log", xlim=(0.05, 60))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    figure.legend(fontsize=9, loc="outside right center")
    return figure
