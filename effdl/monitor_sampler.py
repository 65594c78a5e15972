"""The program that the monitor starts: it samples a process, all below it and the machine until it is told to stop.

``python -m effdl.monitor_sampler PID SECONDS`` prints a line of JSON for each moment. It imports little, so that it
starts at once. On Linux it reads /proc; elsewhere psutil says what it knows.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PROC = Path("/proc")


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


def allowed(pid: int) -> int:
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
        "disk bytes": {name: disk.read_bytes + disk.write_bytes for name, disk in (disks or {}).items()},
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


def sample_until_told(root: int, every: float) -> None:
    """Print a line of JSON for each moment, until a line arrives on standard input or the process is gone."""
    gpus, cgroup, slow_at, pss = _Gpus(), _cgroup(), 0.0, 0
    psutil.swap_memory()
    due, last = time.monotonic(), False
    while True:
        now = time.monotonic()
        if now >= slow_at:
            # The kernel walks page tables, a tenth of a second for a gigabyte: once a second, and rarer where it is
            # so long that it would take more than a hundredth of a core.
            pss = _pss(_tree(root))
            slow_at = now + max(1.0, 100 * (time.monotonic() - now))
        processes = {pid: seen for pid in _tree(root) if (seen := _process(pid))}
        line = {
            "time": time.monotonic(),
            "processes": processes,
            "pss": pss,
            "own": time.process_time(),
            **_machine(gpus, cgroup),
        }
        if root not in processes:
            return  # nobody counts its time any more: the run ended with the sample before
        print(json.dumps(line), flush=True)
        if last or processes[root]["state"] == "Z":
            return
        due = max(due + every, time.monotonic())
        last = bool(select.select([sys.stdin], [], [], max(due - time.monotonic(), 0.0))[0])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that is watched
    sample_until_told(int(sys.argv[1]), float(sys.argv[2]))
