"""What a run did to the machine, as time series, and in one sentence what it was bound by.

```python
from effdl import monitor

with monitor.record(every=0.05) as run:
    train()
print(run)  # "Bound by its own processor work in one process: ..."
run.draw()
```

A program of its own samples from outside, so that it neither takes turns with Python's lock nor is slowed down by it:
processor time of this process and all below it, and of each core; memory; bytes of disk and network; a GPU where NVML
finds one. From a shell, around any command: ``python -m effdl.monitor --every 0.1 python train.py``.

What it cannot see: which line of the program waits (that is a profiler's), bytes of the network by process (Linux
counts them for the machine), and how well a GPU is used (NVML's utilisation is the share of time in which any kernel
ran).
On Linux everything comes from /proc; elsewhere psutil gives processors, memory, disk and network.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from effdl.monitor_sampler import allowed
from effdl.monitor_verdict import BUSY, Verdict, judge

__all__ = ["BUSY", "WAITS_IN", "Run", "Verdict", "judge", "main", "record"]

WAITS_IN = {
    "a timer": ("nanosleep", "clock_sleep"),
    "a lock or another thread": ("futex",),
    "a pipe or a file descriptor": ("pipe", "poll", "select"),
    "a child process": ("do_wait", "wait4"),
    "a socket": ("sk_wait", "wait_woken", "inet_csk_accept", "tcp_", "unix_stream", "skb_wait"),
    "the disk": (
        "folio",
        "jbd2",
        "io_schedule",
        "blk_",
        "wait_on_page",
        "wbt",
        "rq_qos",
        "submit_bio",
        "iomap",
    ),
}
"""What a thread waits for, by words in the name of the kernel's function that it sleeps in."""


class Run:
    """The samples of a run. Empty while :func:`record`'s block is still running."""

    def __init__(self, root: int, cores: int) -> None:
        self.root, self.cores = root, cores
        self.samples: list[dict[str, Any]] = []

    @property
    def seconds(self) -> float:
        """From the first sample to the last."""
        return self.samples[-1]["time"] - self.samples[0]["time"] if self.samples else 0.0

    @property
    def times(self) -> list[float]:
        """Seconds since the first sample, at the end of each stretch between two samples."""
        return [sample["time"] - self.samples[0]["time"] for sample in self.samples[1:]]

    @property
    def own_cost(self) -> float:
        """The sampler's own processor time, as a share of one core."""
        return _rate(self.samples[0]["own"], self.samples[-1]["own"], self.seconds) if self.samples else 0.0

    def processor(self, who: str = "all") -> list[float]:
        """Cores in use between samples: of the process itself ("main"), of those below it ("children") or "all".

        A process that began and ended between two samples counts when its parent has waited for it.
        """
        before, after = self.samples[:-1], self.samples[1:]
        return [self._cores(a, b, who) for a, b in zip(before, after, strict=True)]

    def core(self, number: int, what: str = "busy") -> list[float]:
        """Share of the time in which a core was "busy", or in "user", "nice", "system", "idle", "iowait", "steal"."""
        names = ["user", "nice", "system", "idle", "iowait", "steal"]
        found = []
        for a, b in zip(self.samples[:-1], self.samples[1:], strict=True):
            spent = _spent(a["cores"][number], b["cores"][number])
            share = {name: part / max(sum(spent), 1e-9) for name, part in zip(names, spent, strict=True)}
            share["busy"] = share["user"] + share["nice"] + share["system"]
            # The kernel counts in ticks: a stretch shorter than one may have none, and says nothing.
            found.append(share[what] if sum(spent) else found[-1] if found else 0.0)
        return found

    def memory(self, what: str = "rss") -> list[float]:
        """Bytes at each sample but the first: "rss" or "pss" of all processes, "cgroup", or "available"."""
        if what == "rss":
            return [sum(p["rss"] for p in sample["processes"].values()) for sample in self.samples[1:]]
        return [sample[what] or 0 for sample in self.samples[1:]]

    def rate(self, what: str) -> list[float]:
        """Bytes per second: "read" and "written" of the processes at the disk; "received", "sent", "loopback".

        Network bytes are those of the whole machine. "loopback" is what the machine sends to itself.
        """
        return [
            _rate(self._count(a, what), self._count(b, what), b["time"] - a["time"])
            for a, b in zip(self.samples[:-1], self.samples[1:], strict=True)
        ]

    def gpu(self, what: str = "busy") -> list[float]:
        """Mean over GPUs of the share of time in which a kernel ran ("busy"), or bytes in use in all ("memory")."""
        place = ("busy", "memory").index(what)
        values = [[gpu[place] for gpu in sample["gpus"]] for sample in self.samples[1:]]
        return [sum(v) / (len(v) if what == "busy" else 1) if v else 0.0 for v in values]

    def waits_in(self) -> dict[str, float]:
        """What the main thread was seen waiting for, as shares of the samples; other names are the kernel's own."""
        found: dict[str, float] = {}
        for sample in self.samples[1:]:
            name = sample["processes"].get(self.root, {}).get("in", "").strip()
            if name and name != "0":
                words = (what for what, parts in WAITS_IN.items() if any(part in name for part in parts))
                what = next(words, name)
                found[what] = found.get(what, 0.0) + 1 / (len(self.samples) - 1)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def shares(self) -> dict[str, float]:
        """The numbers behind the verdict, over the whole run. Processor numbers are cores, rates are bytes a second.

        "main wants" and "children want" hold also the time in which a thread could have run and waited for a core:
        so a busy neighbour does not make a spinning process look idle.
        """
        if len(self.samples) < 2:
            raise ValueError("nothing was recorded yet: read a run after its block has ended")
        first, last, seconds = self.samples[0], self.samples[-1], max(self.seconds, 1e-9)
        count = len(self.samples) - 1
        spent = [_spent(a, b) for a, b in zip(first["cores"], last["cores"], strict=True)]
        wall = [sum(core) for core in zip(*spent, strict=True)]
        idle = (wall[3] + wall[4]) / max(sum(wall), 1e-9)
        # A byte counts for a partition, its disk and what lies over them: no sum, but the one with the most.
        disks, moved = (
            max((_rate(first[what].get(name, 0), b, seconds) for name, b in last[what].items()), default=0.0)
            for what in ("disk busy", "disk bytes")
        )
        found = {
            "main": self._cores(first, last, "main"),
            "children": self._cores(first, last, "children"),
            "main wants": self._cores(first, last, "main") + self._queued(True) / seconds,
            "children want": self._cores(first, last, "children") + self._queued(False) / seconds,
            "machine": len(first["cores"]) * (1 - idle),
            "steal": wall[5] / max(sum(wall), 1e-9),
            "at the disk": sum(any(p["disk"] for p in s["processes"].values()) for s in self.samples[1:]) / count,
            "disk busy": disks,
            "disk bytes": moved,
            "memory stalled": _rate(first["stalled"], last["stalled"], seconds),
            "swapped in": _rate(first["swapped in"], last["swapped in"], seconds),
            "gpu": sum(self.gpu()) / count,
        }  # fmt: skip
        lengths = [b - a for a, b in zip([0.0, *self.times[:-1]], self.times, strict=True)]
        for what in ("read", "written", "received", "sent", "loopback"):
            found[what] = (
                sum(r * length for r, length in zip(self.rate(what), lengths, strict=True)) / seconds
            )
        return found

    def verdict(self) -> Verdict:
        """What the run was bound by, and the numbers that say so. Raises ValueError before the block has ended."""
        return judge(self.shares(), self.cores, self.waits_in(), self._children())

    def draw(self) -> Any:
        """The time series of the run in the house style: processors, memory, bytes, a GPU. Returns the figure."""
        return _drawing(self)

    def __str__(self) -> str:
        return (
            self.verdict().sentence
            if len(self.samples) > 1
            else "nothing was recorded yet, or the run was too short"
        )

    def _children(self) -> int:
        """How many processes below the main one worked; where none did, how many there were at most."""
        span: dict[int, tuple[float, float]] = {}
        for sample in self.samples:
            for pid, process in sample["processes"].items():
                now = process["user"] + process["system"]
                span[pid] = (span.get(pid, (now, now))[0], now)
        worked = [pid for pid, (a, b) in span.items() if pid != self.root and b - a > 0.05 * self.seconds]
        return len(worked) or max((len(sample["processes"]) - 1 for sample in self.samples), default=0)

    def _cores(self, a: dict, b: dict, who: str) -> float:
        def spent(sample: dict) -> float:
            main = sample["processes"].get(self.root)
            own = main["user"] + main["system"] if main else 0.0
            if who == "main":
                return own
            whole = sum(p["user"] + p["system"] + p["reaped"] for p in sample["processes"].values())
            return whole - (own if who == "children" else 0.0)

        return _rate(spent(a), spent(b), b["time"] - a["time"])

    def _count(self, sample: dict, what: str) -> float:
        if what in ("read", "written"):
            return sum(p[what] for p in sample["processes"].values())
        return sample[what]

    def _queued(self, main: bool) -> float:
        """Seconds in which threads of the main process, or of those below it, waited for a core."""
        total = 0.0
        for a, b in zip(self.samples[:-1], self.samples[1:], strict=True):
            for pid, process in b["processes"].items():
                if (pid == self.root) == main and pid in a["processes"]:
                    total += max(process["runnable"] - a["processes"][pid]["runnable"], 0.0)
        return total


def _spent(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [max(y - x, 0.0) for x, y in zip(a, b, strict=True)]


def _rate(a: float, b: float, seconds: float) -> float:
    """Growth a second; none where a counter went back because its process is gone."""
    return max(b - a, 0.0) / max(seconds, 1e-9)


def _from_the_start(values: list[float]) -> list[float]:
    """Values of stretches as a step line needs them that begins at 0."""
    return [*values[:1], *values]


def _drawing(run: Run) -> Any:
    from matplotlib import pyplot as plt

    from effdl import plots

    times, panels = [0.0, *run.times], 3 + any(sample["gpus"] for sample in run.samples)
    figure, axes = plt.subplots(panels, 1, figsize=(7, 1.55 * panels), sharex=True, squeeze=False)
    processors, memory, moved, *gpu = axes[:, 0]
    styles = plots.bar_styles(2)
    parts = [_from_the_start(run.processor(who)) for who in ("main", "children")]
    used = processors.stackplot(times, *parts, step="pre", labels=["main process", "processes below it"])
    for area, style in zip(used, styles, strict=True):
        area.set(facecolor=style["color"], hatch=style["hatch"], edgecolor="white", linewidth=0)
    cores = range(len(run.samples[0]["cores"]))
    for what, dash in (("busy", "--"), ("iowait", ":")):
        whole = [float(sum(values)) for values in zip(*(run.core(n, what) for n in cores), strict=True)]
        label = "the whole machine" if what == "busy" else "idle, waiting for the disk"
        processors.step(
            times,
            _from_the_start(whole),
            where="pre",
            color=plots.INK,
            linestyle=dash,
            linewidth=1.2,
            label=label,
        )
    processors.set(ylabel="cores", ylim=(0, len(cores) * 1.05))
    for what, dash in (("rss", "-"), ("pss", "--")):
        memory.plot(times[1:], [b / 1e6 for b in run.memory(what)], linestyle=dash, label=what.upper())
    memory.set(ylabel="MB", ylim=(0, None))
    lines = {
        "read from disk": ["read"],
        "written to disk": ["written"],
        "network": ["received", "sent", "loopback"],
    }
    for (label, names), colour, dash in zip(lines.items(), plots.COLOURS, plots.DASHES, strict=False):
        rates = [sum(values) / 1e6 for values in zip(*map(run.rate, names), strict=True)]
        moved.step(times, _from_the_start(rates), where="pre", color=colour, linestyle=dash, label=label)
    moved.set(ylabel="MB/s", ylim=(0, max(1.0, moved.get_ylim()[1])))
    for ax in gpu:
        ax.step(
            times, _from_the_start(run.gpu()), where="pre", label="share of time with a kernel on the GPU"
        )
        ax.set(ylim=(0, 1.05))
    for ax in axes[:, 0]:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    axes[-1, 0].set_xlabel("seconds")
    return figure


@contextlib.contextmanager
def record(every: float = 0.1, pid: int | None = None) -> Iterator[Run]:
    """Sample the machine, and a process with all below it, while the block runs.

    Args:
        every: seconds between samples. At 0.1 the sampler needs a few per cent of one core.
        pid: the process; this one by default.

    Raises ValueError if `every` is not positive, RuntimeError if the sampler does not start.
    """
    if not every > 0:
        raise ValueError(f"record(every={every!r}): give the seconds between samples, for example 0.1")
    root = pid or os.getpid()
    run = Run(root, allowed(root))
    with tempfile.TemporaryFile() as output:
        # The repository first on the path, so that the sampler is found from any folder.
        paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        sampler = subprocess.Popen(
            [sys.executable, "-m", "effdl.monitor_sampler", str(root), str(every)],
            stdin=subprocess.PIPE,
            stdout=output,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        assert sampler.stdin is not None
        try:
            _wait_for_first_line(sampler, output.fileno())
            yield run
        finally:
            # A line and not the end of the pipe: workers that were forked meanwhile hold its other end too.
            with contextlib.suppress(BrokenPipeError):
                sampler.stdin.write(b"\n")
                sampler.stdin.flush()
            try:
                sampler.wait(10)
            except subprocess.TimeoutExpired:
                sampler.kill()
                sampler.wait()
            with contextlib.suppress(BrokenPipeError):
                sampler.stdin.close()
            output.seek(0)
            run.samples += [
                _with_numbers(line) for line in output.read().splitlines(True) if line.endswith(b"\n")
            ]


def _with_numbers(line: bytes) -> dict[str, Any]:
    sample = json.loads(line)
    sample["processes"] = {int(pid): process for pid, process in sample["processes"].items()}
    return sample


def _wait_for_first_line(sampler: subprocess.Popen, output: int) -> None:
    deadline = time.monotonic() + 60
    while os.fstat(output).st_size == 0:
        if sampler.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the sampler did not start (exit status {sampler.poll()})")
        time.sleep(0.005)


def main(arguments: list[str]) -> int:
    """``[--every SECONDS] [--draw FILE.png] COMMAND...``: run a command, print what it was bound by."""
    options = {"--every": "0.1", "--draw": ""}
    while len(arguments) > 1 and arguments[0] in options:
        options[arguments[0]], arguments = arguments[1], arguments[2:]
    if not arguments:
        usage = f"usage: python -m effdl.monitor {main.__doc__}".partition(": run")[0]
        print(usage.replace("`", ""), file=sys.stderr)
        return 2
    try:
        every = float(options["--every"])
    except ValueError:
        every = 0.0
    if not every > 0:
        print(
            f"--every {options['--every']}: give the seconds between samples, for example 0.1",
            file=sys.stderr,
        )
        return 2
    try:
        command = subprocess.Popen(arguments)
    except OSError as error:
        print(
            f"{arguments[0]}: {error.strerror}; name a program, for example python train.py", file=sys.stderr
        )
        return 127
    with record(every, command.pid) as run:
        status = command.wait()
    print(run, file=sys.stderr)
    if options["--draw"] and len(run.samples) > 1:
        run.draw().savefig(options["--draw"])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
