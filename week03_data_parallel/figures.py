"""What draws in this week: figures, tables, and a schedule as an animation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from effdl import plots
from effdl.bench import Comparison
from effdl.notebook import Table
from week03_data_parallel.alpha_beta import Model, typical_error
from week03_data_parallel.digits import Tuned
from week03_data_parallel.overlap import Step
from week03_data_parallel.schedules import Message, Schedule, simulate

CELL = 0.16
ADDED, REPLACED = plots.COLOURS[:2]  # of messages


def space_time(schedule: Schedule, ax: Axes) -> None:
    """Draw a schedule: time to the right, a row of cells for each rank and chunk, an arrow for each message.

    The number in a cell says how many ranks' values its sum holds so far. Cells that leave next have a frame.
    """
    n, chunks = schedule.ranks, schedule.chunks
    counts = simulate(schedule, np.ones((n, chunks), dtype=int))
    width = CELL * 4 / chunks if chunks > 4 else CELL
    span = width * chunks
    step = span + 0.55
    for time, state in enumerate(counts):
        for rank in range(n):
            for chunk in range(chunks):
                _cell(ax, time * step + chunk * width, -rank, width, int(state[rank, chunk]), n)
    for time, messages in enumerate(schedule.rounds):
        for m in messages:
            colour, dash = (ADDED, "-") if m.add else (REPLACED, "--")
            style = {"arrowstyle": "-|>", "color": colour, "linestyle": dash, "linewidth": 1.1, "shrinkA": 1}
            ends = (time * step + span, -m.source), ((time + 1) * step, -m.target)
            ax.annotate("", ends[1], ends[0], arrowprops={**style, "shrinkB": 1})
            leaving = (time * step + m.start * width, -m.source - 0.24), (m.stop - m.start) * width, 0.48
            ax.add_patch(Rectangle(*leaving, fill=False, edgecolor=colour, linestyle=dash, linewidth=1.6))
    ax.set(xlim=(-0.1, len(schedule.rounds) * step + span + 0.1), ylim=(-n + 0.5, 0.5))
    ax.set_yticks([-rank for rank in range(n)], [f"rank {rank}" for rank in range(n)])
    ax.set_xticks([time * step + span / 2 for time in range(len(counts))], ["start", *range(1, len(counts))])
    ax.grid(visible=False)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.tick_params(length=0)


def _cell(
    ax: Axes, x: float, y: float, width: float, count: int, most: int, size: float = 7, **frame: Any
) -> None:
    # Lighter means more of the sum; the number says it too.
    colour = colormaps["cividis"](0.25 + 0.75 * (count - 1) / max(1, most - 1))
    frame = {"edgecolor": "white", "linewidth": 0.8} | frame
    ax.add_patch(Rectangle((x, y - 0.24), width, 0.48, facecolor=colour, **frame))
    ink = "black" if count > 0.6 * most else "white"
    ax.text(x + width / 2, y, str(count), ha="center", va="center", fontsize=size, color=ink)


def animation(schedule: Schedule) -> list[Image.Image]:
    """A schedule round by round, with the ranks on a circle: frames for `caption`.

    Two frames for each round: chunks under way, edged in the colour of `space_time`'s arrows, and what the ranks hold
    afterwards. The first frame shows messages, so that it says something where nothing moves.
    """
    figure, ax = plt.subplots(figsize=(4.2, 2.6))
    states = simulate(schedule, np.ones((schedule.ranks, schedule.chunks), dtype=int))
    frames, total = [], len(schedule.rounds)
    for number, messages in enumerate(schedule.rounds, start=1):
        _circle(ax, schedule, states[number - 1], f"round {number} of {total}", messages)
        frames.append(_image(figure))
        _circle(ax, schedule, states[number], f"after round {number} of {total}")
        frames.append(_image(figure))
    _circle(ax, schedule, states[0], "start")
    start = _image(figure)
    plt.close(figure)
    return [*frames, *[frames[-1]] * 3, start, start]


def _circle(
    ax: Axes, schedule: Schedule, held: np.ndarray, moment: str, messages: Sequence[Message] = ()
) -> None:
    """What the ranks hold, the first at the top, clockwise; and messages a third of their way along."""
    n, chunks, width = schedule.ranks, schedule.chunks, 1.2 / schedule.chunks
    angles = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    corners = np.column_stack([1.5 * np.cos(angles) - 0.6, 1.6 * np.sin(angles)])
    ax.clear()
    ax.set(xlim=(-2.3, 2.3), ylim=(-2.1, 2.3))
    ax.axis("off")
    for rank, (x, y) in enumerate(corners):
        outside = (1.2, "right") if x > 0 else (0, "left")
        ax.text(x + outside[0], y + (0.33 if y > -0.1 else -0.55), f"rank {rank}", fontsize=8, ha=outside[1])
        for chunk in range(chunks):
            _cell(ax, x + chunk * width, y, width, int(held[rank, chunk]), n, size=9)
    for m in messages:
        # A third and not a half: two ranks that exchange chunks would hide each other's.
        x, y = corners[m.source] + 0.35 * (corners[m.target] - corners[m.source])
        colour, dash = (ADDED, "-") if m.add else (REPLACED, "--")
        for chunk in range(m.start, m.stop):
            style = {"edgecolor": colour, "linestyle": dash, "linewidth": 1.6, "zorder": 3}
            _cell(ax, x + chunk * width, y, width, int(held[m.source, chunk]), n, size=9, **style)
        middle = (m.start + m.stop) / 2 * width
        target = corners[m.target] + [middle, 0.26 * np.sign(corners[m.source, 1] - corners[m.target, 1])]
        line = {"arrowstyle": "-|>", "color": colour, "linestyle": dash, "linewidth": 1}
        ax.annotate("", target, (x + middle, y), arrowprops=line, zorder=2)
    ax.set_title(f"{schedule.name}: {moment}", fontsize=10)


def _image(figure: Figure) -> Image.Image:
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")


def schedules(drawn: Mapping[str, Schedule], columns: int, height: float = 1.75) -> Figure:
    """Several schedules as space-time diagrams, in `columns` columns, each of width in proportion to its rounds."""
    rows = -(-len(drawn) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8, height * rows), squeeze=False)
    for ax in axes.flat[len(drawn) :]:
        ax.set_visible(False)
    for (title, schedule), ax in zip(drawn.items(), axes.flat, strict=False):
        space_time(schedule, ax)
        ax.set_title(title)
    return figure


def steps(drawn: Mapping[str, Step]) -> Figure:
    """Training steps as two rows each: what backward computes, what the network sends."""
    figure, axes = plt.subplots(len(drawn), 1, figsize=(8, 1.15 * len(drawn)), sharex=True, squeeze=False)
    for (title, step), ax in zip(drawn.items(), axes.flat, strict=True):
        for row, (pieces, colour, hatch) in enumerate(
            ((step.computed, plots.COLOURS[0], ""), (step.sent, plots.COLOURS[1], "///"))
        ):
            bars = [(start * 1e3, (end - start) * 1e3) for start, end in pieces]
            ax.broken_barh(bars, (-row - 0.4, 0.8), facecolor=colour, hatch=hatch, edgecolor="white")
        ax.set_yticks([0, -1], ["backward", "network"])
        ax.set_title(f"{title}: {step.end * 1e3:.0f} ms", fontsize=9)
        ax.grid(axis="y", visible=False)
    axes.flat[-1].set_xlabel("time, ms")
    return figure


def races(
    found: Mapping[tuple[int, int], Comparison], against: str, names: Sequence[str], worlds: Sequence[int]
) -> Figure:
    """Speed relative to `against`, by size of the tensor: one panel for each world size."""
    figure, axes = plt.subplots(1, len(worlds), figsize=(8, 3), sharey=True, squeeze=False)
    for world, ax in zip(worlds, axes.flat, strict=True):
        for name, marker in zip(names, plots.MARKERS, strict=False):
            sizes = [b for w, b in found if w == world and name in found[w, b].timings]
            ratios = [found[world, b].ratio(against, name) for b in sizes]
            middle = [r.value for r in ratios]
            error = [[r.value - r.low for r in ratios], [r.high - r.value for r in ratios]]
            ax.errorbar([b / 1024 for b in sizes], middle, np.maximum(error, 0), marker=marker, label=name)
        ax.axhline(1, color=plots.INK, linewidth=1, linestyle=":")
        ax.set(xscale="log", yscale="log", title=f"{world} ranks", xlabel="tensor")
        ax.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["1/4", "1/2", "1", "2", "4", "8"])
        ax.set_xticks([1, 64, 1024, 65536], ["1 KiB", "64 KiB", "1 MiB", "64 MiB"], fontsize=8)
        ax.minorticks_off()
    axes.flat[0].set_ylabel(f"times as fast as {against}")
    fullest = max(axes.flat, key=lambda ax: len(ax.containers))
    axes.flat[-1].legend(*fullest.get_legend_handles_labels(), fontsize=8, loc="upper center")
    return figure


def model_and_times(
    model: Model, times: Mapping[tuple[str, int, int], float], titles: Mapping[int, str], sizes: Sequence[int]
) -> Figure:
    """Tree and ring: measured times as points, the model's as lines; a panel for each world size of `titles`."""
    figure, axes = plt.subplots(1, len(titles), figsize=(8, 3.2), sharey=True)
    grid = np.geomspace(sizes[0], sizes[-1], 50)
    for ax, (n, title) in zip(axes, titles.items(), strict=True):
        for name, marker, colour in (("tree", "o", plots.COLOURS[0]), ("ring", "s", plots.COLOURS[1])):
            ax.loglog(grid / 1024, [1e3 * model.predict(name, n, b) for b in grid], color=colour)
            measured = [1e3 * times[name, n, b] for b in sizes]
            ax.plot(np.array(sizes) / 1024, measured, marker, color=colour, label=name)
        ax.set(xlabel="tensor, KiB", title=title)
        ax.set_xticks([b / 1024 for b in sizes], [f"{b / 1024:.0f}" for b in sizes])
        ax.set_yticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
        ax.minorticks_off()
    axes[0].set(ylabel="time, ms", ylim=(0.8e3 * min(times.values()), 1.3e3 * max(times.values())))
    axes[0].legend()
    return figure


def loss_by_step_and_bytes(curves: Mapping[str, Sequence[tuple[float, float]]], every: int) -> Figure:
    """Curves of (bytes sent, loss), recorded at every `every`-th step: by step on the left, by bytes on the right."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    for name, marker in zip(curves, plots.MARKERS, strict=False):
        sent, losses = np.array(curves[name]).T
        left.semilogy(every * np.arange(len(losses)), losses, label=name)
        right.loglog(sent[1:] / 1e6, losses[1:], marker=marker, markersize=3)
    left.set(xlabel="step", ylabel="training loss")
    right.set(xlabel="MB sent by a rank")
    left.legend(fontsize=8)
    return figure


def curves(drawn: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Training loss by step, a curve for each name."""
    figure, ax = plt.subplots()
    for number, (name, curve) in enumerate(drawn.items()):
        dash = plots.DASHES[(number + number // len(plots.DASHES)) % len(plots.DASHES)]
        ax.semilogy(
            *zip(*curve, strict=True), label=name, marker=plots.MARKERS[number], markersize=4, linestyle=dash
        )
    ax.set(xlabel="step", ylabel="training loss")
    ax.legend(ncol=2, fontsize=9)
    return figure


def batch_sweeps(
    batches: Sequence[int],
    steps: Mapping[str, Sequence[float]],
    rates: Mapping[str, Sequence[float]],
    fits: Mapping[str, tuple[float, float]],
) -> Figure:
    """Left: steps to the goal by batch, as points, with the curve of each fit. Right: the rates used.

    `fits` holds (least steps, critical batch). What has no rate of its own (a rule) stands in both too.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6))
    grid = np.geomspace(batches[0], batches[-1], 60)
    for number, name in enumerate(steps):
        colour, marker = plots.COLOURS[number], plots.MARKERS[number]
        left.loglog(batches, steps[name], marker=marker, linestyle="", color=colour, label=name)
        right.loglog(batches, rates[name], marker=marker, color=colour, linestyle="-", label=name)
        if name in fits:
            least, critical = fits[name]
            left.loglog(grid, least * (1 + critical / grid), color=colour, linestyle="--", linewidth=1)
    left.set(xlabel="batch", ylabel="steps to the goal (median of 3 seeds)")
    right.set(xlabel="batch", ylabel="learning rate")
    for ax in (left, right):
        ax.set_xticks(batches, batches, fontsize=8)
        ax.minorticks_off()
    left.legend(fontsize=8)
    return figure


def run_time(batches: Sequence[int], seconds: Sequence[float]) -> Figure:
    """Seconds of a whole run by batch."""
    figure, ax = plt.subplots(figsize=(7, 2.6))
    ax.loglog(batches, seconds, marker="o")
    ax.set(xlabel="batch", ylabel="time to the goal, s")
    ax.set_xticks(batches, batches)
    ticks = [mark * 10.0**power for power in range(-3, 4) for mark in (1, 2, 5)]
    low, high = ax.get_ylim()
    ax.set_yticks([t for t in ticks if low <= t <= high], [f"{t:g}" for t in ticks if low <= t <= high])
    ax.minorticks_off()
    return figure


def rate_policies(drawn: Mapping[str, Sequence[float]]) -> Figure:
    """Factors of the learning rate by step, a line for each policy."""
    figure, ax = plt.subplots(figsize=(7, 2.2))
    for name, factors in drawn.items():
        ax.plot(factors, label=name)
    ax.set(xlabel="step", ylabel="factor of the rate")
    ax.legend()
    return figure


def message_cost(sizes: Sequence[int], seconds: Sequence[float], alpha: float, beta: float) -> Figure:
    """Time of a message one way: measured, by the model, and a dotted line where both parts cost the same."""
    figure, ax = plt.subplots()
    ax.loglog(sizes, 1e6 * np.array(seconds), "o", label="measured, median")
    ax.loglog(sizes, 1e6 * (alpha + beta * np.array(sizes)), label="alpha + beta m")
    ax.axvline(alpha / beta, color=plots.INK, linestyle=":", linewidth=1)
    ax.set(xlabel="message, bytes", ylabel="time one way, us")
    ax.legend()
    return figure


def model_table(models: Mapping[str, Model], unseen: Mapping[tuple[str, int, int], float]) -> Table:
    """Fitted constants of several models, by which factor they miss times not used in the fit, and the crossover."""
    return Table(
        ["model", "alpha, us", "1/beta, GB/s", "typical error on unseen", "ring wins from, KiB (4 ranks)"],
        [
            [
                name,
                f"{model.alpha * 1e6:.0f}",
                f"{1 / model.beta / 1e9:.2f}",
                f"{typical_error(model, unseen):.2f}x",
                f"{model.crossover('tree', 'ring', 4) / 1024:,.0f}",
            ]
            for name, model in models.items()
        ],
    )


def goals_table(
    found: Mapping[str, Sequence[tuple[float, float]]], goals: Sequence[float], every: int
) -> Table:
    """Steps, and MB sent by a rank, until the training loss first is a goal or less, for curves of (bytes, loss)."""
    rows = []
    for name, curve in found.items():
        reached = [
            next(((every * k, sent) for k, (sent, loss) in enumerate(curve) if loss <= g), None)
            for g in goals
        ]
        rows.append([name, *(f"{r[0]}: {r[1] / 1e6:.2f}" if r else "never" for r in reached)])
    return Table(["steps: MB until the loss is", *(f"{goal:g}" for goal in goals)], rows)


def optimizer_table(
    state: Mapping[str, float], tuned: Sequence[Mapping[str, Tuned]], titles: Sequence[str]
) -> Table:
    """State in copies of the weights, and for each setting the best rate and the final losses of its seeds.

    A best rate at the edge of what was tried is marked: the best may lie beyond.
    """
    header = [
        "optimizer",
        "state, copies",
        *(word for title in titles for word in (f"rate, {title}", "losses")),
    ]
    rows = []
    for name in tuned[0]:
        cells = []
        for setting in tuned:
            low, high = min(setting[name].losses), max(setting[name].losses)
            edge = "" if setting[name].inside else " (edge)"
            cells += [f"{setting[name].rate:g}{edge}", f"{low:.2f} to {high:.2f}"]
        rows.append([name, f"{state[name]:.0f}", *cells])
    return Table(header, rows)
