"""The diagrams of the lecture, which explain and show no measurement of a machine."""

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from effdl import plots
from week02_distributed.cluster import Result

BLUE, ORANGE, GREEN, PINK = plots.COLOURS[:4]


def _canvas(width: float, height: float, size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure, ax = plt.subplots(figsize=size)
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return figure, ax


def _box(ax: Axes, x, y, width, height, text="", fill="white", hatch="", top=False) -> None:
    ax.add_patch(
        Rectangle((x, y), width, height, facecolor=fill, edgecolor=plots.INK, hatch=hatch, linewidth=1)
    )
    if text:
        where = y + height - 0.25 if top else y + height / 2
        behind = (
            {"facecolor": fill, "edgecolor": "none", "pad": 1.5} if hatch else None
        )  # text on hatching blurs
        ax.text(x + width / 2, where, text, ha="center", va="center", fontsize=9, bbox=behind)


def _arrow(ax: Axes, start, end, text="", both=False) -> None:
    style = "<|-|>" if both else "-|>"
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle=style, mutation_scale=11, color=plots.INK, shrinkA=1, shrinkB=1
        )
    )
    if text:
        ax.text(
            (start[0] + end[0]) / 2,
            (start[1] + end[1]) / 2 + 0.18,
            text,
            ha="center",
            va="bottom",
            fontsize=8,
        )


def threads_and_processes() -> Figure:
    """Two threads in one process; two processes with a pipe; two processes with a shared piece of memory."""
    figure, ax = _canvas(15, 5, (7.4, 2.5))
    _box(ax, 0.2, 0.6, 4, 3.6, "one process", top=True)
    _box(ax, 0.5, 0.9, 3.4, 1.1, "objects", plots.GRID)
    for x, name in ((0.7, "thread 1"), (2.3, "thread 2")):
        _box(ax, x, 2.6, 1.4, 0.8, name)
        _arrow(ax, (x + 0.7, 2.6), (x + 0.7, 2.0), both=True)
    for left, title in ((5.0, "pipe"), (10.2, "shared memory")):
        for n, x in enumerate((left, left + 2.6)):
            _box(ax, x, 0.6, 2.0, 3.6, f"process {n + 1}", top=True)
            _box(ax, x + 0.2, 2.6, 1.6, 0.8, "thread")
            _box(ax, x + 0.2, 1.5, 1.6, 0.7, "objects", plots.GRID)
        if title == "pipe":
            _arrow(ax, (left + 1.8, 1.85), (left + 2.8, 1.85))
        else:
            _box(ax, left + 0.2, 0.75, 4.2, 0.55, "one piece of memory in both", "#cfe6f5")
        ax.text(left + 2.3, 4.55, title, ha="center", fontsize=9, fontweight="bold")
    ax.text(2.2, 4.55, "threads", ha="center", fontsize=9, fontweight="bold")
    return figure


def three_cuts() -> Figure:
    """A network of two layers cut by examples, by layers and inside the layers; two workers, two colours."""
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.7))
    for ax, title in zip(
        axes, ("data: cut the batch", "model: cut between layers", "operator: cut the layers"), strict=True
    ):
        ax.set(xlim=(0, 6), ylim=(0, 6))
        ax.axis("off")
        ax.set_title(title, fontsize=9)
    first, second = {"fill": "#cfe6f5"}, {"fill": "#f7d9c4", "hatch": "//"}
    for x, style, name in ((0.2, first, "half the batch"), (3.2, second, "other half")):
        for y, label in ((1.2, "layer 1"), (3.2, "layer 2")):
            _box(axes[0], x, y, 2.5, 1.2, label, **style)
        _arrow(axes[0], (x + 1.25, 0.4), (x + 1.25, 1.2))
        _arrow(axes[0], (x + 1.25, 2.4), (x + 1.25, 3.2))
        axes[0].text(x + 1.25, 0.05, name, ha="center", fontsize=8)
    _arrow(axes[0], (1.4, 4.9), (4.5, 4.9), "gradients", both=True)
    for y, label, style in ((1.2, "layer 1", first), (3.6, "layer 2", second)):
        _box(axes[1], 1, y, 4, 1.2, label, **style)
    _arrow(axes[1], (2.2, 2.4), (2.2, 3.6))
    _arrow(axes[1], (3.8, 3.6), (3.8, 2.4))
    axes[1].text(3, 2.95, "activations", ha="center", va="center", fontsize=8, backgroundcolor="white")
    _arrow(axes[1], (3, 0.4), (3, 1.2))
    axes[1].text(3, 0.05, "whole batch", ha="center", fontsize=8)
    for x, style in ((0.2, first), (3.2, second)):
        _box(axes[2], x, 1.2, 2.5, 1.2, "half of layer 1", **style)
        _box(axes[2], x, 3.2, 2.5, 1.2, "half of layer 2", **style)
        _arrow(axes[2], (x + 1.25, 2.4), (x + 1.25, 3.2))
        _arrow(axes[2], (x + 1.25, 0.4), (x + 1.25, 1.2))
    _arrow(axes[2], (1.4, 4.9), (4.5, 4.9), "sums of outputs", both=True)
    axes[2].text(3, 0.05, "whole batch in both", ha="center", fontsize=8)
    return figure


def parameter_servers() -> Figure:
    """One server and three workers; and the same with the parameters cut over three servers."""
    figure, ax = _canvas(15, 5.4, (7.4, 2.8))
    for left, servers in ((0.3, 1), (8.0, 3)):
        for w in range(3):
            _box(ax, left + 2.3 * w, 0.5, 1.8, 1.0, f"worker {w}\ndata {w}")
        for s in range(servers):
            x = left + 2.3 * (s if servers > 1 else 1)
            name = "all parameters" if servers == 1 else f"keys {'abc'[s]}"
            _box(ax, x - 0.2 * (servers == 1), 3.4, 1.8 + 0.4 * (servers == 1), 1.0, name, "#cfe6f5")
            for w in range(3):
                _arrow(ax, (left + 2.3 * w + 0.9, 1.5), (x + 0.9, 3.4), both=True)
    ax.text(3.5, 4.9, "one server: its link carries everything", ha="center", fontsize=9, fontweight="bold")
    ax.text(11.2, 4.9, "three shards: a third each", ha="center", fontsize=9, fontweight="bold")
    return figure


def gantt(results: Mapping[str, Result], until: float) -> Figure:
    """One panel per policy: which job holds which GPU, when. Pale: the GPU is held but does not train."""
    figure, axes = plt.subplots(
        len(results), 1, figsize=(7.2, 0.5 + 1.1 * len(results)), sharex=True, squeeze=False
    )
    for ax, (name, result) in zip(axes[:, 0], results.items(), strict=True):
        for piece in result.intervals:
            style = plots.bar_styles(36)[piece.job % 36]
            for gpu in piece.gpus:
                ax.barh(
                    gpu,
                    piece.end - piece.start,
                    left=piece.start,
                    height=1,
                    color=style["color"] if piece.speed else "#f0f0f0",
                    hatch=style["hatch"] if piece.speed else "",
                    edgecolor="white",
                    linewidth=0,
                )
        seen = set()
        for piece in result.intervals:
            if piece.job not in seen and piece.speed and piece.end - piece.start > until / 40:
                seen.add(piece.job)
                label = {"ha": "left", "va": "center", "fontsize": 8, "fontweight": "bold"}
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
                ax.text(piece.start + until / 200, np.mean(piece.gpus), str(piece.job), bbox=box, **label)
        ax.set(xlim=(0, until), ylim=(-0.5, result.gpus - 0.5), yticks=[0, result.gpus - 1], ylabel="GPU")
        ax.set_title(f"{name}: mean completion {result.completion.mean():.0f} s", fontsize=9)
        ax.grid(False)
    axes[-1, 0].set_xlabel("seconds")
    return figure
