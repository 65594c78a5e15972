"""The drawings of the seminar: requests on a time axis, answered and lost."""

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.load import LoadResult


def over_time(
    results: Mapping[str, LoadResult], lost: str = "lost", marks: Mapping[str, float] | None = None
) -> Figure:
    """A panel for each result: latency of every request by the second at which it was meant to be sent.

    Requests that failed are crosses on a line of their own, above all others; `lost` names them. `marks` draws a
    dotted vertical line at a second of each panel, where something happened.
    """
    figure, axes = plt.subplots(
        len(results), 1, figsize=(7.2, 0.6 + 1.35 * len(results)), sharex=True, sharey=True, squeeze=False
    )
    slowest = max(1e3 * float(result.latencies.max(initial=1e-3)) for result in results.values())
    top = 2.5 * slowest
    for ax, (title, result) in zip(axes[:, 0], results.items(), strict=True):
        well = result.well
        ax.semilogy(
            result.intended[well],
            1e3 * result.latencies,
            linestyle="",
            marker=".",
            markersize=3,
            color=plots.COLOURS[0],
        )
        ax.plot(
            result.intended[~well],
            np.full(result.failed, top),
            linestyle="",
            marker="x",
            markersize=5,
            color=plots.COLOURS[1],
        )
        for second in [] if marks is None else [marks[title]]:
            ax.axvline(second, color=plots.INK, linestyle=":", linewidth=1)
        ax.set_title(f"{title}: {result.failed} of {result.count} {lost}", fontsize=10)
        ax.set_ylabel("ms")
        ax.set_ylim(top=3 * top)
    axes[-1, 0].set_xlabel("seconds")
    return figure
