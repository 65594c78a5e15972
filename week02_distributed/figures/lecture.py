"""The plots and tables of the lecture: each function takes what a cell measured and gives a figure or a table."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from effdl import plots
from effdl.notebook import Table
from week02_distributed.cluster import Result, Summary
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


def channel_table(fits: Mapping[str, tuple[float, float]]) -> Table:
    """Latency, bandwidth and their product, by channel, from {channel: (seconds, bytes per second)}."""
    return Table(
        ["channel", "latency, us", "bandwidth, GB/s", "half of the bandwidth from"],
        [
            (name, f"{1e6 * a:.0f}", f"{b / 1e9:.2f}", f"{a * b / 1024:,.0f} KiB")
            for name, (a, b) in fits.items()
        ],
    )


def bytes_by_batch(batches: Sequence[int], volume: Mapping[str, Sequence[int]]) -> Figure:
    """Bytes that cross between workers in a step, by batch size, a line for each cut."""
    figure, ax = plt.subplots(figsize=(7, 3))
    for number, (name, nbytes) in enumerate(volume.items()):
        # Two of the lines coincide: markers at different points show both.
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
    """Loss over simulated time, and how many pushes had which staleness, by consistency model."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3))
    edges = np.arange(-0.5, max(run.staleness.max() for run in runs.values()) + 1)
    for name, run in runs.items():
        left.plot(run.seconds, run.losses, label=name, linewidth=1.2)
        right.hist(run.staleness, bins=edges, histtype="step", label=name, linewidth=1.5)
    left.set(xlabel="simulated seconds", ylabel="loss", xlim=(0, 200), ylim=(0, 2))
    right.set(xlabel="staleness of a push", ylabel="pushes", yscale="log")
    left.legend(fontsize=8)
    return figure


def loss_by_step_size(steps: Sequence[float], ends: Mapping[str, Sequence[float]]) -> Figure:
    """Final loss by step size, a line for each rule."""
    figure, ax = plt.subplots(figsize=(7, 2.8))
    for (name, losses), mark in zip(ends.items(), plots.MARKERS, strict=False):
        ax.loglog(steps, losses, marker=mark, label=name)
    ax.set(xlabel="step size", ylabel="loss after 800 pushes")
    ax.set_xticks(steps, steps)
    ax.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    ax.minorticks_off()
    ax.legend()
    return figure


def shard_bandwidth(shards: Sequence[int], found: Mapping[str, Sequence[float]]) -> Figure:
    """Bandwidth of several servers in units of one server's, by number of servers, with the ideal line."""
    figure, ax = plt.subplots(figsize=(7, 2.8))
    for (name, bandwidth), mark in zip(found.items(), plots.MARKERS, strict=False):
        ax.plot(shards, np.array(bandwidth) / bandwidth[0], marker=mark, label=name)
    ax.plot(shards, shards, color=plots.INK, linewidth=1, label="ideal")
    ax.set(xlabel="servers", ylabel="bandwidth, one server = 1", xticks=shards, ylim=(0, max(shards) + 0.4))
    ax.legend()
    return figure


def load_table(load: Mapping[str, np.ndarray]) -> Table:
    """Share of the requests that each server gets, a row for each placement of keys."""
    servers = len(next(iter(load.values())))
    rows = [(name, *(f"{100 * share:.0f} %" for share in shares)) for name, shares in load.items()]
    return Table(["placement", *(f"server {s}" for s in range(servers))], rows)


def accuracy_by_round(
    curves: Mapping[tuple[str, str], np.ndarray], rounds: Mapping[tuple[str, str], float], goal: float
) -> Figure:
    """Test accuracy after each round, a curve for each (method, split); the legend counts rounds to the goal."""
    figure, ax = plt.subplots(figsize=(7, 3))
    for (method, split), curve in curves.items():
        label = f"{method}, {split}: {rounds[method, split]:.0f} rounds"
        ax.plot(np.arange(1, len(curve) + 1), curve, label=label)
    ax.axhline(goal, color=plots.INK, linewidth=0.8)
    ax.set(xlabel="round", ylabel="test accuracy", xlim=(0, 60), ylim=(0, 1))
    ax.legend(title=f"to {100 * goal:.0f} %")
    return figure


def schedule_table(summaries: Mapping[str, Summary]) -> Table:
    """What each policy did to waiting, deadlines and GPUs."""
    return Table(
        [
            "policy",
            "mean completion, s",
            "first minute trained after, s",
            "deadlines missed",
            "GPUs training",
        ],
        [
            (
                name,
                f"{s.completion:.0f}",
                f"{s.first_minute:.0f}",
                f"{100 * s.missed:.0f} %",
                f"{100 * s.busy:.0f} %",
            )
            for name, s in summaries.items()
        ],
    )


def busy_and_done(results: Mapping[str, Sequence[Result]], followed: Sequence[str]) -> Figure:
    """Left: GPUs that train in the first trace, under the policies `followed`. Right: share of jobs done by time."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.4), width_ratios=(3, 4))
    window, looks = 180, 60  # seconds; looks inside a window
    starts = np.arange(0, results[followed[0]][0].jobs[-1].arrival - window, window)
    for name in followed:
        times = (starts[:, None] + np.linspace(0, window, looks, endpoint=False)).ravel()
        share = results[name][0].busy(times).reshape(len(starts), looks).mean(1)
        left.step((starts + window / 2) / 60, 100 * share, where="mid", label=name, linewidth=1.4)
    left.set(xlabel="minutes", ylabel="GPUs that train, %", ylim=(0, 105), title="trace 0")
    left.legend(fontsize=7, loc="lower right")
    for name, runs in results.items():
        waits = np.sort(np.concatenate([run.completion for run in runs]))
        right.semilogx(waits, np.linspace(0, 100, len(waits)), label=name, linewidth=1.3)
    right.set(xlabel="completion time, s", ylabel="jobs, %", title="how many are done within")
    right.legend(fontsize=7)
    return figure


def completion_bars(completion: Mapping[str, float]) -> Figure:
    """Mean completion time in seconds, a bar for each policy."""
    figure, ax = plt.subplots(figsize=(7, 2.2))
    for (name, value), style in zip(completion.items(), plots.bar_styles(len(completion)), strict=True):
        ax.barh(name, value, **style)
    ax.invert_yaxis()
    ax.set(xlabel="mean completion time, s")
    return figure
