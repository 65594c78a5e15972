"""Control groups, version 1 and 2: limits on memory and processes, and counters out of a submission's reach."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_NAMES = itertools.count()


class CgroupError(Exception):
    """This process may not make control groups here; says why and what to do."""


@dataclass(frozen=True)
class Usage:
    """What a group used: CPU time in seconds, peak memory in bytes, and whether the memory limit killed."""

    cpu_seconds: float
    peak_memory: int | None
    oom_kills: int


class Cgroup:
    """One group of processes with limits; a child enters by writing itself into every file of `paths`."""

    def __init__(self, version: int, folders: dict[str, Path]):
        self.version, self._folders = version, folders

    @property
    def paths(self) -> list[str]:
        return [str(folder / "cgroup.procs") for folder in sorted(set(self._folders.values()))]

    def usage(self) -> Usage:
        """Read the counters; both versions give the same meaning."""
        if self.version == 1:
            cpu = int(_read(self._folders["cpuacct"] / "cpuacct.usage")) / 1e9
            peak = int(_read(self._folders["memory"] / "memory.max_usage_in_bytes"))
            events = _pairs(self._folders["memory"] / "memory.oom_control")
        else:
            folder = self._folders["memory"]
            cpu = _pairs(folder / "cpu.stat")["usage_usec"] / 1e6
            # memory.peak came with Linux 5.19.
            peak = int(_read(folder / "memory.peak")) if (folder / "memory.peak").exists() else None
            events = _pairs(folder / "memory.events")
        return Usage(cpu, peak, events.get("oom_kill", 0))

    def remove(self) -> None:
        """Kill what is left in the group and delete it; raises CgroupError if processes refuse to go."""
        kill = self._folders["memory"] / "cgroup.kill"
        for attempt in range(200):
            if self.version == 2 and kill.exists():
                kill.write_text("1")
            for path in self.paths:
                for pid in Path(path).read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
            try:
                for folder in set(self._folders.values()):
                    if folder.is_dir():
                        folder.rmdir()
                return
            except OSError:
                time.sleep(min(0.001 * 2**attempt, 0.05))
        raise CgroupError(f"{kill.parent}: processes in this control group cannot be killed")


class Cgroups:
    """Where in the hierarchy this process may make groups; raises CgroupError if it may nowhere."""

    def __init__(self, mount: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")):
        self._mount = mount
        self._own = _own_groups(own)
        reasons = []
        for attempt in (self._version2, self._version1):
            try:
                self.version, self._bases = attempt()
                probe = self.create(memory=1 << 30, processes=16)
                probe.remove()
                return
            except (OSError, CgroupError, KeyError, ValueError) as error:
                reasons.append(str(error))
        raise CgroupError("no control group can be made here: " + "; ".join(reasons))

    def create(self, *, memory: int, processes: int) -> Cgroup:
        """Make a group with `memory` bytes (swap included, where counted) and at most `processes` tasks."""
        name = f"grader-{os.getpid()}-{next(_NAMES)}"
        folders = {controller: base / name for controller, base in self._bases.items()}
        for folder in set(folders.values()):
            folder.mkdir(exist_ok=True)
        if self.version == 1:
            (folders["memory"] / "memory.limit_in_bytes").write_text(str(memory))
            swap = folders["memory"] / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text(str(memory))
            (folders["pids"] / "pids.max").write_text(str(processes))
        else:
            (folders["memory"] / "memory.max").write_text(str(memory))
            if (folders["memory"] / "memory.swap.max").exists():
                (folders["memory"] / "memory.swap.max").write_text("0")
            (folders["memory"] / "pids.max").write_text(str(processes))
        return Cgroup(self.version, folders)

    def _version1(self) -> tuple[int, dict[str, Path]]:
        bases = {}
        for controller in ("memory", "pids", "cpuacct"):
            if controller not in self._own:
                raise CgroupError(f"version 1 has no {controller} controller")
            mounted = self._mount / controller
            inside = mounted / self._own[controller].lstrip("/")
            # In a container the path of the host is not there; the mount itself is then our own group.
            bases[controller] = inside if inside.is_dir() else mounted
            if not os.access(bases[controller], os.W_OK):
                raise CgroupError(f"{bases[controller]} is not writable; run as root")
        return 1, bases

    def _version2(self) -> tuple[int, dict[str, Path]]:
        if not (self._mount / "cgroup.controllers").exists():
            raise CgroupError(f"{self._mount} is not a version 2 hierarchy")
        own = self._mount / self._own.get("", "/").lstrip("/")
        # A group with processes of its own cannot have children with limits, so look beside it first.
        for base in (own.parent if own != self._mount else own, own, self._mount):
            control = base / "cgroup.subtree_control"
            if not control.exists() or not os.access(control, os.W_OK):
                continue
            wanted = {"memory", "pids"}
            if not wanted <= set(control.read_text().split()):
                # The kernel refuses where the group has processes of its own or was not delegated.
                with contextlib.suppress(OSError):
                    control.write_text("+memory +pids +cpu")
            if wanted <= set(control.read_text().split()):
                return 2, dict.fromkeys(("memory", "pids", "cpuacct"), base)
        raise CgroupError(
            f"{own} is not delegated to this user; run as root or under "
            "`systemd-run --user --scope -p Delegate=yes`"
        )


def _own_groups(path: Path) -> dict[str, str]:
    groups = {}
    for line in path.read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = place
    return groups


def _read(path: Path) -> str:
    return path.read_text().strip()


def _pairs(path: Path) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}
