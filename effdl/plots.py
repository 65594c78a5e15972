"""What draws for several weeks: the house style, bars of times, a roofline. A week's own figures are its `figures`.

The style is readable in grey, by the colour-blind, and at the width of a notebook page. Importing this module
applies it. Colours are those of Okabe and Ito (2008); lines differ in dash too, points in marker and bars in hatch,
so that no plot depends on colour alone.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from cycler import cycler

if TYPE_CHECKING:
    # The grader draws too, and starts without torch.
    from matplotlib.typing import RcKeyType

    from effdl.device import Ceilings

INK = "#22262b"
GRID = "#d9dde2"
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2))]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", "*"]
HATCHES = ["", "///", "...", "xxx", "\\\\\\", "+++"]

STYLE: dict["RcKeyType", Any] = {
    "figure.figsize": (7.0, 3.6),
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "image.cmap": "cividis",
    "axes.prop_cycle": cycler(color=COLOURS, linestyle=DASHES),
}


def use() -> None:
    """Apply the house style to every figure made from now on."""
    mpl.rcParams.update(STYLE)


def bar_styles(n: int) -> list[dict[str, Any]]:
    """Keyword arguments for n bars or groups of bars: colour, hatch and an edge that shows in grey."""
    styles = [
        {"color": colour, "hatch": hatch, "edgecolor": "white"}
        for colour, hatch in zip(COLOURS, HATCHES, strict=True)
    ]
    return list(itertools.islice(itertools.cycle(styles), n))


def times(timings: Mapping[str, tuple[float, float, float]], ax: Any = None) -> Any:
    """Bars of medians with their intervals; ``{name: (median, low, high)}`` in seconds. Returns the axes."""
    from matplotlib import pyplot as plt

    ax = ax or plt.subplots(figsize=(7, 0.6 + 0.5 * len(timings)))[1]
    largest = max(median for median, _, _ in timings.values())
    unit, size = next((u, s) for u, s in (("s", 1), ("ms", 1e-3), ("us", 1e-6), ("ns", 0)) if largest >= s)
    size = size or 1e-9
    for row, ((name, (median, low, high)), style) in enumerate(
        zip(timings.items(), bar_styles(len(timings)), strict=True)
    ):
        error = [[max(median - low, 0) / size], [max(high - median, 0) / size]]
        ax.barh(row, median / size, xerr=error, height=0.6, label=name, capsize=3, **style)
    ax.set_yticks(range(len(timings)), list(timings))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"time of one call, {unit} (median, 98 % interval)")
    return ax


def roofline(points: Sequence[tuple[str, float, float, float]], ceilings: "Ceilings", ax: Any = None) -> Any:
    """Draw operations under the roof of a device (Williams, Waterman and Patterson 2009). Returns the figure.

    ``points`` holds (name, FLOP, bytes moved, seconds) per operation. An operation whose data fits in a
    cache may stand above the slope, which is the bandwidth of main memory. Raises ValueError for a point
    without FLOP, bytes or seconds: it has no place on logarithmic axes.
    """
    from matplotlib import pyplot as plt

    for name, *values in points:
        if min(values) <= 0:
            raise ValueError(f"roofline(): {name!r} needs FLOP, bytes and seconds above zero, not {values}")
    ax = ax or plt.subplots(figsize=(7, 4.2))[1]
    intensities = [flop / nbytes for _, flop, nbytes, _ in points]
    left = min([*intensities, ceilings.ridge]) / 3
    right = max([*intensities, ceilings.ridge]) * 3
    xs = np.geomspace(left, right, 200)
    roof = np.minimum(ceilings.flops, xs * ceilings.bandwidth)
    ax.loglog(xs, roof / 1e9, color=INK, linestyle="-", marker="", linewidth=2)
    for (name, flop, _, seconds), x, marker, colour in zip(
        points, intensities, MARKERS * len(points), COLOURS * len(points), strict=False
    ):
        ax.plot(x, flop / seconds / 1e9, marker=marker, color=colour, linestyle="", markersize=8, label=name)
    kind = str(ceilings.dtype).removeprefix("torch.")
    threads = f", {ceilings.threads} threads" if ceilings.threads > 1 else ""
    ax.annotate(
        f"{ceilings.flops / 1e9:.3g} GFLOP/s, {kind} matrix product{threads}",
        (right, ceilings.flops / 1e9),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
    )
    middle = math.sqrt(left * min(ceilings.ridge, right))
    ax.annotate(
        f"{ceilings.bandwidth / 1e9:.3g} GB/s",
        (middle, middle * ceilings.bandwidth / 1e9),
        xytext=(-6, 4),
        textcoords="offset points",
        ha="right",
    )
    ax.set_ylim(top=ceilings.flops / 1e9 * 2)
    ax.set_xlabel("arithmetic intensity, FLOP per byte")
    ax.set_ylabel("GFLOP/s")
    ax.legend(loc="best", fontsize=9)
    return ax.figure


use()
