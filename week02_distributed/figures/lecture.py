"""The plots and tables of the lecture: each function takes what a cell measured and gives a figure or a table."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.notebook import Table
from week02_distributed.cluster import Result, ratios, summarise
from week02_distributed.staleness import Simulated, descend

BYTES = {2**6: "64 B", 2**10: "1 KiB", 2**14: "16 KiB", 2**18: "256 KiB", 2**22: "4 MiB"}


def speed_gains(gains: Mapping[str, Mapping[str, float]]) -> Figure:
    """A group of bars for each kind of work, a bar for each way to do it twice; {work: {way: gain}}."""
    ways = list(next(iter(gains.values())))
    figure, ax = plt.subplots(figsize=(7, 2.8))
    for number, (way, style) in enumerate(zip(ways, plots.bar_styles(len(ways)), strict=True)):
        at = np.arange(len(gains)) + 0.27 * (number - 1)
        ax.bar(at, [by_way[way] for by_way in gains.values()], 0.25, label=way, **style)
    ax.set(xticks=range(len(gains)), xticklabels=list(gains), ylabel="speed, in a row = 1")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def start_table(report: Mapping[str, Mapping[str, list]]) -> Table:
    """Best start time of each method, and what two workers drew, from `start_methods.report`."""
    return Table(
        ["start method", "best of five, ms", "two workers drew"],
        [
            (method, f"{1e3 * min(seconds):.0f}", ", ".join(f"{v:.4f}" for v in report["drawn"][method]))
            for method, seconds in report["seconds"].items()
        ],
    )


def message_costs(sizes: Sequence[int], cost: Mapping[str, np.ndarray]) -> Figure:
    """Time of a message by its size in bytes, a line for each channel; seconds in."""
    figure, ax = plt.subplots(figsize=(7, 3.2))
    for (channel, seconds), mark in zip(cost.items(), plots.MARKERS, strict=False):
        ax.loglog(sizes, seconds * 1e6, marker=mark, label=channel)
    ax.set(xlabel="size", ylabel="time until the other can read it, us")
    ax.set_xticks(list(BYTES), list(BYTES.values()))
    ax.minorticks_off()
    ax.legend(fontsize=8)
    return figure


def channel_table(fits: Mapping[str, tuple[float, float, float]]) -> Table:
    """Latency, bandwidth, their product, and how far off the largest message is, from `channels.fit_small`."""
    return Table(
        ["channel", "latency, us", "bandwidth, GB/s", "half of the bandwidth from", "4 MiB, over the line"],
        [
            (name, f"{1e6 * a:.0f}", f"{b / 1e9:.2f}", f"{a * b / 1024:,.0f} KiB", f"{off:.1f}x")
            for name, (a, b, off) in fits.items()
        ],
    )


def bytes_by_batch(batches: Sequence[int], volume: Mapping[str, Sequence[int]]) -> Figure:
    """Bytes that cross between workers in a step, by batch size, a line for each cut."""
    figure, ax = plt.subplots(figsize=(7, 3))
    for number, (name, nbytes) in enumerate(volume.items()):
        style = {"marker": plots.MARKERS[number], "markevery": (number, len(volume))}
        ax.loglog(batches, np.array(nbytes) / 2**20, label=name, **style)
    ax.set(xlabel="batch", ylabel="MiB that cross per step")
    ax.set_xticks(batches, batches)
    ax.minorticks_off()
    ax.legend()
    return figure


def delayed_descent(
    delays: np.ndarray, measured: np.ndarray, predicted: np.ndarray, shown: Sequence[int], step: float
) -> Figure:
    """Left: paths of gradient descent for the delays `shown`; right: the largest stable step by delay."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3))
    for delay in shown:
        left.plot(descend(delay, step, 80), label=f"delay {delay}")
    left.set(xlabel="step", ylabel="x", title=f"step size {step:g}")
    left.legend(fontsize=8)
    right.loglog(delays + 0.5, predicted, label="formula")
    right.loglog(delays + 0.5, measured, "o", color=plots.INK, label="found by trying")
    right.set(xlabel="delay + 1/2", ylabel="largest stable step size")
    right.legend(fontsize=8)
    return figure


def waiting_or_stale(runs: Mapping[str, Simulated]) -> Figure:
    """Loss over gradients used and over seconds, each run to its end; and how many gradients had which staleness."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.8, 2.9))
    ages = np.arange(max(run.staleness.max() for run in runs.values()) + 1)
    for (name, run), style in zip(runs.items(), ("-", "--", ":"), strict=True):
        left.plot(run.pushes, run.losses, style, label=name)
        middle.plot(run.seconds, run.losses, style, label=name)
        right.plot(ages, [max(0.5, np.sum(run.staleness == age)) for age in ages], style, label=name)
    left.set(xlabel="gradients used", ylabel="loss", yscale="log")
    middle.set(xlabel="seconds", yscale="log")
    for ax in (left, middle):
        ax.set_yticks([0.3, 0.5, 1, 2], ["0.3", "0.5", "1", "2"])
        ax.minorticks_off()
    right.set(xlabel="staleness", ylabel="gradients", yscale="log", ylim=(0.7, None))
    left.legend(fontsize=8)
    return figure


def straggler_table(runs: Mapping[tuple[str, str], Simulated], loss: float) -> Table:
    """Seconds and gradients until the loss, and the age of the gradients; {(workers, mode): run}."""
    rows = []
    for (workers, mode), run in runs.items():
        reached = np.flatnonzero(run.losses <= loss)
        pushes = f"{run.pushes[reached[0]]:.0f}" if len(reached) else "never"
        ages = f"{np.mean(run.staleness):.1f}", str(run.staleness.max())
        rows.append((workers, mode, f"{run.seconds_to(loss):.2f}", pushes, *ages))
    headers = [
        "eight workers",
        "server",
        f"seconds to loss {loss:g}",
        "gradients",
        "mean staleness",
        "largest",
    ]
    return Table(headers, rows)


def loss_by_step_size(steps: Sequence[float], ends: Mapping[str, Sequence[float]]) -> Figure:
    """Final loss by the mean step size that was used, a line for each rule, from {rule: [(mean step, loss)]}."""
    figure, ax = plt.subplots(figsize=(7, 2.8))
    for (name, points), mark in zip(ends.items(), plots.MARKERS, strict=False):
        ax.loglog(*np.transpose(points), marker=mark, label=name)
    ax.set(xlabel="mean step size that was used", ylabel="loss after 800 gradients")
    ax.set_xticks(steps, [f"{step:.2f}" for step in steps])
    ax.set_yticks([0.1, 0.2, 0.5], ["0.1", "0.2", "0.5"])
    ax.minorticks_off()
    ax.legend()
    return figure


def shard_table(shares: Mapping[str, Mapping[str, float]]) -> Table:
    """Load of the busiest server, fair share = 1: a row for what is counted, a column for each placement."""
    placements = list(next(iter(shares.values())))
    rows = [(name, *(f"{by[placement]:.2f}" for placement in placements)) for name, by in shares.items()]
    return Table(["busiest of 4 servers, fair share = 1", *placements], rows)


def rounds_table(found: Mapping[tuple[str, str], Mapping[float, float]]) -> Table:
    """Rounds to the goal by method, split and step size; {(method, split): {rate: rounds}}."""
    rows = []
    for (method, split), by_rate in found.items():
        cells = [f"{rate:g}: {'never' if np.isinf(n) else f'{n:.0f}'}" for rate, n in by_rate.items()]
        rows.append((f"{method}, {split}", *cells))
    return Table(["method, clients", *["step size: rounds"] * (len(rows[0]) - 1)], rows)


def accuracy_by_round(
    curves: Mapping[tuple[str, str], np.ndarray], rounds: Mapping[tuple[str, str], float], goal: float
) -> Figure:
    """Test accuracy after each round, a curve for each (method, split); the legend counts rounds to the goal."""
    figure, ax = plt.subplots(figsize=(7, 3))
    for ((method, split), curve), style in zip(curves.items(), ("-", "--", "-.", ":"), strict=True):
        label = f"{method}, {split}: {rounds[method, split]:.0f} rounds"
        ax.plot(np.arange(1, len(curve) + 1), curve, style, label=label)
    ax.axhline(goal, color=plots.INK, linewidth=0.8)
    ax.set(xlabel="round", ylabel="test accuracy", xlim=(0, 60), ylim=(0, 1))
    ax.legend(title=f"to {100 * goal:.0f} %")
    return figure


def schedule_table(results: Mapping[str, Sequence[Result]], base: str) -> Table:
    """What each policy did to waiting, deadlines and GPUs; completion times also over those of `base`, by trace."""
    rows = []
    for name, runs in results.items():
        s, over = summarise(runs), ratios(runs, results[base])
        spread = f"{np.median(over):.2f} ({over.min():.2f} to {over.max():.2f})"
        numbers = f"{s.completion:.0f}", spread, f"{s.first_minute:.0f}", f"{s.latest:.0f}"
        rows.append((name, *numbers, f"{100 * s.missed:.0f} %", f"{100 * s.busy:.0f} %"))
    headers = [
        "policy",
        "mean completion, s",
        f"over {base}: median (range)",
        "first minute trained after, s",
        "99 % done within, s",
        "deadlines missed",
        "GPUs training",
    ]
    return Table(headers, rows)


def by_load(loads: Sequence[float], found: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Completion time over that of backfilling, by load: medians over traces, bars from the least to the largest."""
    figure, ax = plt.subplots(figsize=(7, 3.2))
    for number, ((name, over), mark) in enumerate(zip(found.items(), plots.MARKERS, strict=False)):
        medians = np.array([np.median(one) for one in over])
        spread = [medians - [one.min() for one in over], [one.max() for one in over] - medians]
        at = np.array(loads) + 0.008 * (number - len(found) / 2)
        ax.errorbar(at, medians, spread, marker=mark, capsize=2, label=name)
    ax.axhline(1, color=plots.INK, linewidth=0.8)
    ax.set(
        xlabel="load: GPU-seconds asked for, over those there are", ylabel="mean completion, backfilling = 1"
    )
    ax.set(yscale="log", xticks=loads)
    ax.set_yticks([0.3, 0.5, 1, 2, 3], ["0.3", "0.5", "1", "2", "3"])
    ax.minorticks_off()
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def real_table(pairs: Mapping[str, tuple[Result, Result]], first: float) -> Table:
    """Real runs beside simulated ones: {policy: (real, simulated)}; `first`: seconds of the first look."""
    rows = []
    for name, (real, simulated) in pairs.items():
        means = [result.completion.mean() for result in (real, simulated)]
        looks = [result.first_result(first).mean() for result in (real, simulated)]
        rows.append((name, *(f"{value:.2f}" for value in (*means, *looks))))
    headers = ["policy", "mean completion, s: real", "simulated"]
    return Table([*headers, f"first {first:g} s trained after: real", "simulated"], rows)
