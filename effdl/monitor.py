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
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PROC = Path("/proc")
BUSY = 0.8
"""From this share of the time on, something counts as busy, or as what everybody waits for."""

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


# ---------------------------------------------------------------------------------------------------------------
# The sampler, a program of its own
# ---------------------------------------------------------------------------------------------------------------


def _read(path: Path | str) -> str:
    """A small file of the kernel; "" where there is none, or it is not for us to read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _tree(root: int) -> list[int]:
    """The process and all below it, but for this one."""
    if not (PROC / f"{root}/task/{root}/children").exists():
        with contextlib.suppress(psutil.Error):
            return [root] + [p.pid for p in psutil.Process(root).children(True) if p.pid != os.getpid()]
        return [root]
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(PROC / f"{pid}/task"):
                children = map(int, _read(PROC / f"{pid}/task/{thread}/children").split())
                found += [child for child in children if child != os.getpid()]
    return found


def _process(pid: int) -> dict[str, Any] | None:
    """One process now: seconds on a processor, seconds in which its threads waited for one, bytes, where it waits."""
    text = _read(PROC / f"{pid}/stat")
    if not text:
        return _process_elsewhere(pid)
    fields = text.rpartition(")")[2].split()
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    user, system, reaped_user, reaped_system = (int(field) / tick for field in fields[11:15])
    waited, states = 0.0, ""
    with contextlib.suppress(OSError):
        for thread in os.listdir(PROC / f"{pid}/task"):
            counts = _read(PROC / f"{pid}/task/{thread}/schedstat").split()
            waited += int(counts[1]) / 1e9 if len(counts) > 1 else 0
            states += _read(PROC / f"{pid}/task/{thread}/stat").rpartition(")")[2].strip()[:1]
    counted = dict(line.split(": ") for line in _read(PROC / f"{pid}/io").splitlines() if ": " in line)
    return {
        "user": user,
        "system": system,
        "reaped": reaped_user + reaped_system,
        "runnable": waited,
        "rss": int(fields[21]) * page,
        "read": int(counted.get("read_bytes", 0)),
        "written": int(counted.get("write_bytes", 0)),
        "state": fields[0],
        "disk": "D" in states,
        "in": _read(PROC / f"{pid}/wchan") if fields[0] in "SD" else "",
    }


def _process_elsewhere(pid: int) -> dict[str, Any] | None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        times = process.cpu_times()
        reaped = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        none = {"runnable": 0.0, "read": 0, "written": 0, "state": "", "disk": False, "in": ""}
        rss = process.memory_info().rss
        return {**none, "user": times.user, "system": times.system, "reaped": reaped, "rss": rss}
    return None


def _group_files(controller: str, names: dict[str, tuple[str, ...]]) -> tuple[Path, ...] | None:
    """Files of this control group: those named for "version 2", or for "version 1" of its controller; or None."""
    for line in _read(PROC / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            base = Path("/sys/fs/cgroup") / (controller if controllers else "")
            for folder in (base / path.lstrip("/"), base):  # a container sees its own group as the root
                files = tuple(folder / name for name in names["version 1" if controllers else "version 2"])
                if files[0].exists():
                    return files
    return None


def _cgroup() -> tuple[Path, ...] | None:
    """The files with the memory of this control group and its limit."""
    old = ("memory.usage_in_bytes", "memory.limit_in_bytes")
    return _group_files("memory", {"version 2": ("memory.current", "memory.max"), "version 1": old})


def _allowed(pid: int) -> int:
    """Cores that a process may use: by its affinity, and by the quota of this control group (`docker --cpus`)."""
    cores = len(os.sched_getaffinity(pid)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    old = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    files = _group_files("cpu", {"version 2": ("cpu.max",), "version 1": old}) or ()
    words = " ".join(map(_read, files)).split()  # "200000 100000", or "max 100000", or "-1 100000"
    if len(words) == 2 and words[0].isdigit():
        cores = min(cores, max(1, round(int(words[0]) / int(words[1]))))
    return cores


class _Gpus:
    """Utilisation and memory of all GPUs by NVML; nothing where there is none."""

    def __init__(self) -> None:
        self.handles: list[Any] = []
        with contextlib.suppress(Exception):  # no library, no driver, no right: no GPU to watch
            import pynvml

            pynvml.nvmlInit()
            self.nvml = pynvml
            self.handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]

    def now(self) -> list[list[float]]:
        """[share of time in which a kernel ran, bytes in use] of each."""
        found = []
        for handle in self.handles:
            with contextlib.suppress(Exception):
                rates = self.nvml.nvmlDeviceGetUtilizationRates(handle)
                found.append([float(rates.gpu) / 100, int(self.nvml.nvmlDeviceGetMemoryInfo(handle).used)])
        return found


def _machine(gpus: _Gpus, cgroup: tuple[Path, ...] | None) -> dict[str, Any]:
    """The machine now: seconds of each core by use, bytes of memory, disk and network, and the GPUs."""
    cores = [
        [getattr(core, name, 0.0) for name in ("user", "nice", "system", "idle", "iowait", "steal")]
        for core in psutil.cpu_times(percpu=True)
    ]
    disks, net = None, {}
    with contextlib.suppress(Exception):  # some containers hide them
        disks = psutil.disk_io_counters(perdisk=True)
    with contextlib.suppress(Exception):
        net = psutil.net_io_counters(pernic=True)
    pressure = _read(PROC / "pressure/memory")
    limit = _read(cgroup[1]).strip() if cgroup else ""
    return {
        "cores": cores,
        "disk busy": {name: getattr(disk, "busy_time", 0) / 1e3 for name, disk in (disks or {}).items()},
        "disk bytes": sum(d.read_bytes + d.write_bytes for d in (disks or {}).values()),
        "loopback": sum(c.bytes_recv for name, c in net.items() if name.startswith("lo")),
        "received": sum(c.bytes_recv for name, c in net.items() if not name.startswith("lo")),
        "sent": sum(c.bytes_sent for name, c in net.items() if not name.startswith("lo")),
        "available": psutil.virtual_memory().available,
        "swapped in": psutil.swap_memory().sin,
        "stalled": int(pressure.rpartition("full ")[2].rpartition("total=")[2] or 0) / 1e6,
        "cgroup": int(_read(cgroup[0]) or 0) if cgroup else None,
        "limit": int(limit) if limit.isdigit() and int(limit) < 2**60 else None,
        "gpus": gpus.now(),
    }


def _pss(pids: Sequence[int]) -> int:
    """Bytes of these processes with shared pages divided among those who share them; 0 where nobody says."""
    total = 0
    for pid in pids:
        for line in _read(PROC / f"{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def _sample_until_told(root: int, every: float) -> None:
    """Print a line of JSON for each moment, until a line arrives on standard input or the process is gone."""
    gpus, cgroup, slow_at, pss = _Gpus(), _cgroup(), 0.0, 0
    psutil.swap_memory()
    due, last = time.monotonic(), False
    while True:
        now = time.monotonic()
        if now >= slow_at or last:
            # Walks page tables: once a second is enough, and at the end.
            pss, slow_at = _pss(_tree(root)), now + 1.0
        processes = {pid: seen for pid in _tree(root) if (seen := _process(pid))}
        own = os.times()
        line = {
            "time": time.monotonic(),
            "processes": processes,
            "pss": pss,
            "own": own.user + own.system,
            **_machine(gpus, cgroup),
        }
        if root not in processes:
            return  # nobody counts its time any more: the run ended with the sample before
        print(json.dumps(line), flush=True)
        if last or processes[root]["state"] == "Z":
            return
        due = max(due + every, time.monotonic())
        last = bool(select.select([sys.stdin], [], [], max(due - time.monotonic(), 0.0))[0])


# ---------------------------------------------------------------------------------------------------------------
# A recorded run
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What a run was bound by: a word or two, and the sentence with the numbers that say so."""

    bound: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


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
            spent = [y - x for x, y in zip(a["cores"][number], b["cores"][number], strict=True)]
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
        disks = [_rate(first["disk busy"].get(name, 0), b, seconds) for name, b in last["disk busy"].items()]
        found = {
            "main": self._cores(first, last, "main"),
            "children": self._cores(first, last, "children"),
            "main wants": self._cores(first, last, "main") + self._queued(True) / seconds,
            "children want": self._cores(first, last, "children") + self._queued(False) / seconds,
            "machine": len(first["cores"]) * (1 - idle),
            "steal": wall[5] / max(sum(wall), 1e-9),
            "at the disk": sum(any(p["disk"] for p in s["processes"].values()) for s in self.samples[1:]) / count,
            "disk busy": max(disks, default=0.0),
            "disk bytes": _rate(first["disk bytes"], last["disk bytes"], seconds),
            "memory stalled": _rate(first["stalled"], last["stalled"], seconds),
            "swapped in": _rate(first["swapped in"], last["swapped in"], seconds),
            "gpu": sum(self.gpu()) / count,
        }  # fmt: skip
        lengths = [b - a for a, b in zip([0.0, *self.times[:-1]], self.times, strict=True)]
        for what in ("read", "written", "received", "sent", "loopback"):
            moved = sum(rate * length for rate, length in zip(self.rate(what), lengths, strict=True))
            found[what] = moved / seconds
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


def judge(
    shares: dict[str, float], cores: int, waits_in: dict[str, float] | None = None, children: int = 0
) -> Verdict:
    """What a run with these numbers (see :meth:`Run.shares`) on so many cores was bound by.

    The first that holds, in this order: a busy GPU, memory that stalls everybody, other programs on the cores,
    children that work while the main process waits, all cores busy, one core busy, the disk, the network, nothing
    visible; otherwise a mixture.
    """
    main, below = shares["main wants"], shares["children want"]
    wanted, used = main + below, shares["main"] + shares["children"]
    where = next(iter(waits_in or {}), "")
    seen = f", mostly for {where} ({waits_in[where]:.0%} of the samples)" if waits_in and where else ""
    rests = f"its processes use {used:.2f} of {cores} cores"
    moved = shares["read"] + shares["written"]
    if shares["gpu"] >= BUSY - 0.1:
        return _verdict("gpu", "the GPU", f"kernels ran in {shares['gpu']:.0%} of the time, while {rests}")
    if shares["memory stalled"] >= 0.2 or shares["swapped in"] >= 10e6:
        return _verdict(
            "memory",
            "memory pressure",
            f"in {shares['memory stalled']:.0%} of the time all processes waited for pages, "
            f"{_bytes(shares['swapped in'])}/s came back from swap",
        )
    others, queued = max(shares["machine"] - used, 0.0), max(wanted - used, 0.0)
    beside = f"; other programs use {others:.1f} cores" if others >= 0.3 else ""
    beside += f", for which it waits {queued:.0%} of the time" if beside and queued >= 0.2 else ""
    if wanted >= 0.5 and queued > 0.75 * wanted and beside:
        return _verdict("other programs", "other programs", f"{rests}{beside}")
    if below >= 0.4 and main < 0.5 and below >= 2 * main:
        full = "; all cores are busy" if wanted >= BUSY * cores else beside
        count = "one process below it keeps" if children == 1 else f"{children} processes below it keep"
        return _verdict(
            "workers",
            "its workers or other child processes",
            f"the main process works {shares['main']:.0%} of the time and waits otherwise, while {count} "
            f"{shares['children']:.2f} cores busy{full}",
        )
    if wanted >= BUSY * cores:
        what = (
            "its own processor work on all cores" if cores > 1 else "its own processor work on the only core"
        )
        return _verdict("all cores", what, f"{rests}{beside}")
    if main >= BUSY:
        these = "one core" if main < 1.2 else f"{main:.1f} cores"
        if queued >= 0.2:
            numbers = (
                f"one Python process could keep {these} busy and gets {shares['main']:.2f} of {cores}{beside}"
            )
        else:
            rest = beside or ", the others are idle"
            numbers = f"one Python process keeps {these} busy ({used:.2f} of {cores} cores){rest}"
        return _verdict("one core", "its own processor work in one process", numbers)
    # A fast disk is seen at work more often than a thread is caught waiting; it counts if these bytes are ours.
    busy = shares["disk busy"] if moved >= shares["disk bytes"] / 2 else 0.0
    at_disk = max(shares["at the disk"], (waits_in or {}).get("the disk", 0.0), busy)
    if at_disk >= 0.35 and at_disk > wanted / 2 and moved > 0:
        numbers = (
            f"in {shares['at the disk']:.0%} of the samples a thread waited for it, it was busy "
            f"{shares['disk busy']:.0%} of the time and moved {_bytes(shares['read'])}/s in and "
            f"{_bytes(shares['written'])}/s out, while {rests}{beside}"
        )
        return _verdict("disk", "the disk", numbers)
    net = shares["received"] + shares["sent"] + shares["loopback"]
    if wanted < 0.6 and net >= 0.5e6 and where not in ("a timer", "the disk", "a child process"):
        return _verdict("network", "the network", f"{_bytes(net)}/s pass, while it waits{seen} and {rests}")
    if wanted < 0.4:
        beneath = f", and so do its {children} child processes" if children else ""
        passing = f"{_bytes(moved)}/s pass at the disk and {_bytes(net)}/s at the network"
        numbers = f"it waits{seen}{beneath}; {rests}, {passing}"
        return _verdict("waiting", "waiting for nothing that shows", numbers)
    numbers = (
        f"the main process works {shares['main']:.0%} of the time, its children use {shares['children']:.2f} cores, "
        f"a thread waited for the disk in {shares['at the disk']:.0%} of the samples{beside}"
    )
    return _verdict("mixed", "no single thing", numbers)


def _verdict(bound: str, what: str, numbers: str) -> Verdict:
    return Verdict(bound, f"Bound by {what}: {numbers}.")


def _bytes(count: float) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


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
    run = Run(root, _allowed(root))
    with tempfile.TemporaryFile() as output:
        # The repository first on the path, so that the sampler is found from any folder.
        paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        sampler = subprocess.Popen(
            [sys.executable, "-m", "effdl.monitor", "--sample", str(root), str(every)],
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
    if arguments[:1] == ["--sample"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that is watched
        _sample_until_told(int(arguments[1]), float(arguments[2]))
        return 0
    options = {"--every": "0.1", "--draw": ""}
    while len(arguments) > 1 and arguments[0] in options:
        options[arguments[0]], arguments = arguments[1], arguments[2:]
    if not arguments:
        print(f"usage: python -m effdl.monitor {main.__doc__}".partition(": run")[0], file=sys.stderr)
        return 2
    command = subprocess.Popen(arguments)
    with record(float(options["--every"]), command.pid) as run:
        status = command.wait()
    print(run, file=sys.stderr)
    if options["--draw"] and len(run.samples) > 1:
        run.draw().savefig(options["--draw"])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
