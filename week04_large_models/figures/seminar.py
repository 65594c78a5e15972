"""The drawings of the seminar: bytes of a step, and the loss of a run that is killed and resumes."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots


def bytes_of_a_step(used: Mapping[str, tuple[int, int]]) -> Figure:
    """For each way to treat activations: bytes between forward and backward, and at the worst moment."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True)
    titles = ("between forward and backward", "at the worst moment")
    for place, (ax, title, style) in enumerate(zip(axes, titles, plots.bar_styles(2), strict=True)):
        bars = ax.barh(list(used), [both[place] / 1e6 for both in used.values()], **style)
        ax.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        ax.set(title=title, xlabel="MB")
        ax.margins(x=0.12)
    axes[0].invert_yaxis()
    return figure


def attempts(calm: Sequence[dict], stormy: Sequence[dict]) -> Figure:
    """Loss by step of a run that was never killed (a line), and of each attempt of one that was (markers)."""
    figure, ax = plt.subplots(figsize=(7, 3))
    steps, values = [record["step"] for record in calm], [record["loss"] for record in calm]
    ax.plot(steps, values, color=plots.INK, linewidth=1, label="never killed")
    begins = sorted({record["from"] for record in stormy})
    for size, begin, marker in zip((8, 6, 4), begins, plots.MARKERS, strict=False):
        mine = [(record["step"], record["loss"]) for record in stormy if record["from"] == begin]
        style = {"linestyle": "", "marker": marker, "fillstyle": "none", "markersize": size}
        ax.plot(*zip(*mine, strict=True), **style, label=f"from checkpoint {begin}")
    ax.set(xlabel="step", ylabel="loss, nats a character")
    ax.legend()
    return figure
