"""The drawings of lecture 2: passes by their rows, batches as they run, stalls, drafts."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.bench import Comparison
from week07_inference_software.engine import Report


def rates(times: Comparison, counts: Sequence[int]) -> Figure:
    """Tokens a second of one pass by its rows, for prefill and decode; both axes logarithmic."""
    figure, ax = plt.subplots(figsize=(5.6, 2.6))
    for kind, marker in zip(("prefill", "decode"), plots.MARKERS, strict=False):
        ax.loglog(counts, [n / times.median(f"{kind}, {n}") for n in counts], marker=marker, label=kind)
    first = counts[0] / times.median(f"decode, {counts[0]}")
    ax.loglog(
        counts,
        [first * n for n in counts],
        color=plots.INK,
        linestyle=":",
        marker="",
        label="more rows for free",
    )
    ax.set(xlabel="rows of a pass", ylabel="tokens a second")
    ax.set_xticks(counts, [str(n) for n in counts])
    ax.minorticks_off()
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def waste(by_size: Mapping[str, float]) -> Figure:
    """Share of the cache that holds nothing, for each way to hand it out."""
    figure, ax = plt.subplots(figsize=(5.6, 1.9))
    bars = ax.barh(list(by_size), [100 * share for share in by_size.values()], **plots.bar_styles(1)[0])
    ax.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=9)
    ax.set(xlabel="% of the cache that holds nothing", xlim=(0, 100))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return figure


def occupied(reports: Mapping[str, tuple[Report, Sequence[int]]]) -> Figure:
    """Sequences whose token somebody wants, by step: a panel for each report, with the lengths that were asked."""
    figure, axes = plt.subplots(len(reports), 1, figsize=(7, 3.2), sharex=True)
    for ax, (name, (report, asked)), style in zip(axes, reports.items(), plots.bar_styles(2), strict=False):
        ends = [step.time for step in report.steps]
        wanted = np.zeros(len(ends))
        for sequence, new in zip(report.sequences, asked, strict=True):
            wanted[np.searchsorted(ends, sequence.times[:new])] += 1
        done = np.array([step.sequences for step in report.steps])
        ax.fill_between(range(len(ends)), done, step="mid", color=plots.INK, alpha=0.15, linewidth=0)
        ax.fill_between(range(len(ends)), wanted, step="mid", color=style["color"], linewidth=0)
        ax.set(title=f"{name}: {len(ends)} steps", ylabel="sequences")
    axes[-1].set(xlabel="step")
    return figure


def drafts(rights: Sequence[float], gains: Mapping[str, Sequence[float]], tokens: Sequence[float]) -> Figure:
    """What a draft gains in time by how often it is right, for several batches; dashed: tokens of a step."""
    figure, ax = plt.subplots(figsize=(5.6, 2.6))
    for (name, values), marker in zip(gains.items(), plots.MARKERS, strict=False):
        ax.plot(rights, values, marker=marker, label=name)
    ax.plot(rights, tokens, color=plots.INK, linestyle=":", marker="", label="tokens of a step")
    ax.axhline(1, color=plots.INK, linewidth=0.8)
    ax.set(
        xlabel="share of guesses that are right", ylabel="times as fast\nas without a draft", ylim=(0, None)
    )
    figure.legend(fontsize=9, loc="outside right center")
    return figure
