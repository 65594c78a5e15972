"""The drawings of lecture 1: formats beside gradients, loss scales, operations by length, calls until it pays."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from effdl import plots
from week05_fast_pipelines.number_formats import Format


def ranges(gradients: Mapping[str, Tensor], forms: Sequence[Format]) -> Figure:
    """Histograms of magnitudes over what formats can hold: normal numbers, and hatched the subnormal ones."""
    figure, (top, below) = plt.subplots(
        2, 1, figsize=(6.6, 3.6), sharex=True, gridspec_kw={"height_ratios": [3, 2]}
    )
    edges = np.arange(-46, 18)
    for (name, values), style in zip(gradients.items(), plots.bar_styles(len(gradients)), strict=True):
        some = values[values != 0].abs().log2().numpy()
        shares = np.histogram(np.clip(some, edges[0], edges[-1]), edges)[0] / some.size
        top.stairs(
            100 * shares, edges, fill=True, alpha=0.6, label=name, hatch=style["hatch"], **_plain(style)
        )
    top.set(ylabel="% in each power of two")
    top.legend(fontsize=9)
    for row, form in enumerate(forms):
        low, normal, high = (math.log2(x) for x in (form.smallest, form.smallest_normal, form.largest))
        below.barh(row, high - normal, left=normal, height=0.6, color=plots.COLOURS[0])
        below.barh(
            row, normal - low, left=low, height=0.6, color=plots.COLOURS[4], hatch="////", edgecolor="white"
        )
    below.set_yticks(range(len(forms)), [form.name for form in forms])
    below.invert_yaxis()
    below.grid(axis="y", visible=False)
    below.set(xlabel="magnitude, power of two", xlim=(edges[0], edges[-1]))
    return figure


def _plain(style: Mapping[str, str]) -> dict[str, str]:
    return {"color": style["color"], "edgecolor": style["color"]}


def errors(exponents: Sequence[int], found: Mapping[str, Sequence[float]]) -> Figure:
    """Error of the gradient by loss scale; a line ends where a gradient overflows, with a cross above."""
    figure, ax = plt.subplots(figsize=(6.2, 2.7))
    for (name, values), marker, colour in zip(found.items(), plots.MARKERS, plots.COLOURS, strict=False):
        points = np.array(values, dtype=float)
        finite = np.isfinite(points)
        ax.semilogy(np.array(exponents)[finite], points[finite], marker=marker, label=name, color=colour)
        if not finite.all() and finite.any():
            last = int(np.flatnonzero(finite)[-1])
            ax.plot(exponents[last], points[last], "x", color=plots.INK, markersize=10)
    ax.set(xlabel="loss scale, power of two", ylabel="error of the gradient", ylim=(1e-4, 2))
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def scales(traces: Mapping[str, Sequence[float]]) -> Figure:
    """Loss scales by step."""
    figure, ax = plt.subplots(figsize=(5.6, 1.9))
    for name, values in traces.items():
        ax.step(range(len(values)), np.log2(values), where="post", label=name)
    ax.set(xlabel="step", ylabel="loss scale,\npower of two")
    ax.legend(fontsize=9)
    return figure


def six_n(lengths: Sequence[int], shares: Mapping[str, Sequence[float]]) -> Figure:
    """6ND as a share of the operations that were counted, by length of the sequence."""
    figure, ax = plt.subplots(figsize=(5.6, 2.2))
    for (name, values), marker in zip(shares.items(), plots.MARKERS, strict=False):
        ax.semilogx(lengths, values, marker=marker, label=name, base=2)
    ax.axhline(1, color=plots.INK, linestyle=":", linewidth=1)
    ax.set(xlabel="tokens in a sequence", ylabel="6ND over counted", ylim=(0, None))
    ax.set_xticks(lengths, [f"{n:,}" for n in lengths])
    ax.minorticks_off()
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def until_it_pays(lines: Mapping[str, tuple[float, float]], calls: Sequence[int]) -> Figure:
    """Seconds until the n-th call has returned; a line is (seconds before the first, seconds of each)."""
    figure, ax = plt.subplots(figsize=(5.6, 2.2))
    for name, (before, each) in lines.items():
        ax.loglog(calls, before + each * np.array(calls), label=name)
    ax.set(xlabel="calls", ylabel="seconds in all")
    figure.legend(fontsize=9, loc="outside right center")
    return figure
