"""The drawings of the seminar: what waiting for company costs and brings, the page, what it sees."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from week07_inference_software.seminar_trials import Load


def batching(found: Mapping[str, Sequence[Load]]) -> Figure:
    """Median latency and mean batch over the rate of requests, a line for each model."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.2))
    for (name, loads), colour, marker in zip(found.items(), plots.COLOURS, plots.MARKERS, strict=False):
        rates = [load.rate for load in loads]
        style = {"color": colour, "marker": marker, "label": name}
        left.plot(rates, [load.median for load in loads], **style)
        right.plot(rates, [load.rows for load in loads], **style)
    left.set(xlabel="requests a second, sent in an open loop", ylabel="median latency, ms", yscale="log")
    right.set(xlabel="requests a second, sent in an open loop", ylabel="rows the network ran on, mean")
    left.set_ylim(bottom=0.3)
    right.set_ylim(bottom=0)
    right.legend(fontsize=8)
    return figure


def page(screenshot: np.ndarray, drawn: Sequence[tuple[int, int, np.ndarray]]) -> Figure:
    """The page as the browser shows it, and below it what the network was given: (drawn, answered, (8, 8)) each."""
    figure = plt.figure(figsize=(6.4, 5.2))
    grid = figure.add_gridspec(2, len(drawn), height_ratios=[3, 1])
    top = figure.add_subplot(grid[0, :])
    top.imshow(screenshot)
    top.set(xticks=[], yticks=[])
    top.grid(visible=False)
    for column, (digit, answered, image) in enumerate(drawn):
        ax = figure.add_subplot(grid[1, column])
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel=f"drawn {digit}, read {answered}")
        ax.xaxis.label.set_fontsize(8)
        ax.grid(visible=False)
    return figure
