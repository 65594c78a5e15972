"""The drawings of the second companion: a pass by rows, and the bandwidth that few warps reach."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from effdl import plots


def passes(
    rows: Sequence[int], bytes_alone: Sequence[float], both: Sequence[float], measured: Sequence[float]
) -> Figure:
    """Seconds of a pass by the rows of its batch: bytes over bandwidth, that or arithmetic, and by the clock."""
    figure, ax = plt.subplots(figsize=(6.4, 3.0))
    lines = {"bytes alone": bytes_alone, "the larger of bytes and arithmetic": both, "measured": measured}
    for (name, values), marker in zip(lines.items(), plots.MARKERS, strict=False):
        ax.loglog(rows, [1e3 * each for each in values], marker=marker, label=name)
    ax.set_xticks(rows, [str(n) for n in rows])
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.minorticks_off()
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="rows, each a sequence", ylabel="time of a pass, ms")
    ax.legend(fontsize=9)
    return figure


def bandwidth_by_warps(shares: Mapping[int, Sequence[float]], warps: Sequence[int]) -> Figure:
    """Share of the bandwidth by warps on a multiprocessor, a line for each number of loads of a warp."""
    figure, ax = plt.subplots(figsize=(6.4, 3.0))
    for (loads, values), marker in zip(shares.items(), plots.MARKERS, strict=False):
        ax.semilogx(warps, [100 * each for each in values], marker=marker, label=f"{loads}", base=2)
    ax.set_xticks(warps, [str(n) for n in warps])
    ax.set(xlabel="warps on a multiprocessor", ylabel="% of the bandwidth", ylim=(0, 105))
    figure.legend(fontsize=9, title="loads of a warp", loc="outside right upper")
    return figure
