"""The drawings of the seminar: runs side by side, and a monitor's level as Prometheus kept it."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from week09_experiment_tracking.seminar_stream import Watched


def runs(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """The loss of each run over its steps, as the tracker kept it."""
    figure, ax = plt.subplots(figsize=(6.6, 3.2))
    for (name, curve), colour, dash in zip(curves.items(), plots.COLOURS, plots.DASHES, strict=False):
        ax.plot(*zip(*curve, strict=True), color=colour, linestyle=dash, label=name)
    ax.plot(*zip(*[curve[-1] for curve in curves.values()], strict=True), "k.", label="last number kept")
    ax.set(xlabel="step", ylabel="loss of a batch", yscale="log")
    ax.legend(fontsize=8)
    return figure


def drift(found: Watched, rate: float) -> Figure:
    """The monitor's level of each feature over time, with the moments of drift, alarm and alert."""
    figure, ax = plt.subplots(figsize=(6.6, 3.2))
    for (name, (times, values)), colour, dash in zip(
        sorted(found.level.items()), plots.COLOURS, plots.DASHES, strict=False
    ):
        ax.plot(times, values, color=colour, linestyle=dash, label=name)
    ax.axhline(1, color=plots.INK, linewidth=0.8)
    top = max(1.1, *(max(values) for _, values in found.level.values()))
    for moment, word in ((0, "drift"), (found.images / rate, "alarm"), (found.fired, "alert")):
        ax.axvline(moment, color=plots.INK, linewidth=0.8, linestyle=":")
        ax.annotate(
            word, (moment, 1.06 * top), ha="right", fontsize=8, xytext=(-3, 0), textcoords="offset points"
        )
    ax.set(xlabel="seconds since the first image of the second scanner", ylabel="level (1: alarm)")
    ax.set_ylim(0, 1.15 * top)
    ax.legend(fontsize=8, loc="upper left")
    return figure
