"""The house style: readable in grey, by the colour-blind, and at the width of a notebook page.

Importing this module applies the style. Colours are those of Okabe and Ito (2008); lines differ in
dash too, points in marker and bars in hatch, so that no plot depends on colour alone.
"""

import itertools
from typing import Any

import matplotlib as mpl
from cycler import cycler

INK = "#22262b"
GRID = "#d9dde2"
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2))]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", "*"]
HATCHES = ["", "///", "...", "xxx", "\\\\\\", "+++"]

STYLE = {
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


use()
