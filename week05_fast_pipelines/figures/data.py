"""The drawings of lecture 2: layouts, decoders, loaders, batches of texts."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.bench import Comparison
from week05_fast_pipelines.sequences import Batch


def layouts(times: Comparison, names: Sequence[str], orders: Sequence[str]) -> Figure:
    """Microseconds of a sample, cold and warm, a panel for each order; times are named "layout, order, warm"."""
    figure, axes = plt.subplots(1, len(orders), figsize=(7.2, 2.6), sharey=True, sharex=True)
    for order, ax in zip(orders, axes, strict=True):
        for place, (state, style) in enumerate(zip(("cold", "warm"), plots.bar_styles(2), strict=True)):
            known = [
                (row, times.median(key))
                for row, name in enumerate(names)
                if (key := f"{name}, {order}, {state}") in times.timings
            ]
            rows, seconds = np.array([row for row, _ in known]), [1e6 * value for _, value in known]
            bars = ax.barh(rows + 0.36 * (place - 0.5), seconds, 0.34, label=state, **style)
            ax.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8)
        ax.set(title=order, xscale="log", xlabel="us for a sample", xlim=(1, 3e5))
        ax.set_xticks([1, 10, 100, 1000, 10_000], ["1", "10", "100", "1,000", "10,000"])
        ax.minorticks_off()
        ax.tick_params(axis="x", labelsize=8)
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, ncol=2, loc="outside lower right")
    return figure


def decoders(alone: Comparison, loader: Comparison, images: int) -> Figure:
    """Images a second of each decoder, fastest alone first: alone, and in a DataLoader."""
    names = sorted(alone.timings, key=alone.median)
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.5), sharey=True)
    for ax, times, title, style in zip(
        axes, (alone, loader), ("alone", "in a DataLoader"), plots.bar_styles(2), strict=True
    ):
        rates = [images / times.median(name) for name in names]
        low = [images / times.timings[name].high for name in names]
        high = [images / times.timings[name].low for name in names]
        error = np.abs(np.array([low, high]) - rates)
        ax.barh(names, rates, xerr=error, capsize=2, **style)
        ax.set(title=title, xlabel="images a second")
        ax.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    return figure


def reduced(bits: Sequence[float], shares: Mapping[str, Sequence[float]]) -> Figure:
    """Time of reduced decoding over that of full decoding, by bits for each pixel."""
    figure, ax = plt.subplots(figsize=(5.2, 2.1))
    for (name, values), marker in zip(shares.items(), plots.MARKERS, strict=False):
        ax.plot(bits, values, marker=marker, label=name)
    ax.set(xlabel="bits of the file for each pixel", ylabel="time, share of\nfull decoding", ylim=(0, 1))
    figure.legend(fontsize=9, loc="outside right center")
    return figure


Sweep = Mapping[str, Mapping[int, tuple[float, float]]]


def flows(workers: Sweep, prefetch: Sweep) -> Figure:
    """Batches a second, measured and by the model: by number of workers, and by batches that may wait."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.5))
    labels = ("workers", "prefetch_factor")
    titles = ("equal batches", "one batch in 11 is ten times as long")
    for ax, sweep, label, title in zip(axes, (workers, prefetch), labels, titles, strict=True):
        for (name, found), marker, colour, dash in zip(
            sweep.items(), plots.MARKERS, plots.COLOURS, plots.DASHES, strict=False
        ):
            xs = list(found)
            ax.plot(xs, [1 / model for _, model in found.values()], color=colour, linestyle=dash)
            ax.plot(xs, [1 / seen for seen, _ in found.values()], marker, color=colour, label=name)
        ax.set(xscale="log", xlabel=label)
        ax.set_title(title, fontsize=10)
        ax.set_ylim(bottom=0)
        ax.set_xticks(xs, xs)
        ax.minorticks_off()
        ax.legend(fontsize=8)
    axes[0].set_ylabel("batches a second")
    return figure


def plateau(sides: Sequence[int], rates: Mapping[str, Sequence[float]]) -> Figure:
    """Images a second by the side of the image; the dotted line is what bytes alone would allow."""
    figure, ax = plt.subplots(figsize=(6.4, 2.5))
    for (name, values), marker in zip(rates.items(), plots.MARKERS, strict=False):
        ax.loglog(sides, values, marker=marker, label=name)
    first = next(iter(rates.values()))[0]
    ideal = [first * (sides[0] / side) ** 2 for side in sides]
    ax.loglog(sides, ideal, color=plots.INK, linestyle=":", linewidth=1, label="in proportion to bytes")
    ax.set(xlabel="side of the image, pixels", ylabel="images a second")
    ax.set_xticks(sides, sides)
    ax.minorticks_off()
    ax.invert_xaxis()
    figure.legend(fontsize=9, loc="outside right center")
    return figure


def batches(drawn: Mapping[str, Batch]) -> Figure:
    """Where texts lie in a batch: a panel for each way, shades by text, white for padding."""
    widths = [batch.text.shape[1] for batch in drawn.values()]
    figure, axes = plt.subplots(
        1, len(drawn), figsize=(7.4, 2.2), gridspec_kw={"width_ratios": [max(w, 100) for w in widths]}
    )
    for (name, batch), ax in zip(drawn.items(), axes, strict=True):
        text = batch.text.numpy()
        shades = np.where(text < 0, np.nan, 0.25 + text % 4 / 5)
        ax.imshow(shades, aspect="auto", cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(f"{name}\n{batch.padding:.0%} padding", fontsize=8)
        ax.set_xticks([0, text.shape[1]])
        ax.set_yticks([])
        ax.grid(visible=False)
    axes[0].set_ylabel("rows")
    figure.supxlabel("tokens", fontsize=9)
    return figure


def strategies(padding: Mapping[str, float], rates: Mapping[str, float]) -> Figure:
    """Share of padding, and tokens that count for each second of training."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.4), sharey=True)
    values = ([100 * share for share in padding.values()], list(rates.values()))
    titles = ("padding, % of all places", "tokens a second that count")
    for ax, bars, title, style in zip(axes, values, titles, plots.bar_styles(2), strict=True):
        drawn = ax.barh(list(padding), bars, **style)
        ax.bar_label(drawn, fmt="{:,.0f}", padding=2, fontsize=8)
        ax.set_title(title)
        ax.margins(x=0.18)
        ax.locator_params(axis="x", nbins=4)
        ax.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    return figure
