"""Control groups, version 1 and 2: limits on memory and processes, and counters out of a submission's reach."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grader.sandbox import devices

_NAMES = itertools.count()
_SOCKETS = 256 << 20  # bytes in the buffers of a job's TCP and UDP sockets
_NOT_NEEDED = ("cpu", "freezer", "devices")  # controllers of version 1
_PERIOD = 100_000  # microseconds, the kernel's own default


class CgroupError(Exception):
    """This process may not make control groups here; says why and what to do."""


@dataclass(frozen=True)
class Usage:
    """What a group used since it was made. None where this kernel does not count it."""

    cpu_seconds: float
    peak_memory: int | None  # bytes
    processes: int | None  # most processes and threads at one time
    oom_kills: int


class Cgroup:
    """One group of processes with limits; a child enters by writing itself into every file of `paths`."""

    def __init__(self, version: int, folders: dict[str, Path]):
        self.version, self._folders = version, folders
        self.frozen = False
        self.lists_devices = False  # whether its processes can open no devices but those they were allowed

    @property
    def paths(self) -> list[str]:
        return [str(folder / "cgroup.procs") for folder in sorted(set(self._folders.values()))]

    def usage(self) -> Usage:
        """Read the counters; both versions give the same meaning."""
        if self.version == 1:
            cpu = int(_read(self._folders["cpuacct"] / "cpuacct.usage")) / 1e9
            # Version 2 counts buffers of TCP and UDP as memory, this one apart. What is sent to oneself and not yet
            # received would otherwise be memory that nobody counts.
            folder = self._folders["memory"]
            parts = [folder / f"memory.{name}max_usage_in_bytes" for name in ("memsw.", "kmem.tcp.")]
            if not parts[0].exists():  # nobody counts swap here, where a worker can send its pages
                parts[0] = folder / "memory.max_usage_in_bytes"
            peak = sum(int(_read(part)) for part in parts) if all(part.exists() for part in parts) else None
            events = _pairs(self._folders["memory"] / "memory.oom_control")
            pids = self._folders["pids"] / "pids.peak"
        else:
            folder = self._folders["memory"]
            cpu = _pairs(folder / "cpu.stat")["usage_usec"] / 1e6
            # memory.peak came with Linux 5.19.
            peak = int(_read(folder / "memory.peak")) if (folder / "memory.peak").exists() else None
            events = _pairs(folder / "memory.events")
            pids = folder / "pids.peak"
        # pids.peak came with Linux 6.6, to version 1 with 6.12. A sample now and then would miss short lives.
        most = int(_read(pids)) if pids.exists() else None
        return Usage(cpu, peak, most, events.get("oom_kill", 0))

    def members(self) -> set[int]:
        """Return the processes that are alive in the group, by the numbers that this process knows them by."""
        return {int(pid) for pid in Path(self.paths[0]).read_text().split()}

    @property
    def can_freeze(self) -> bool:
        """Whether this kernel, and our rights, allow the group to be frozen."""
        return self._state()[0].exists()

    def freeze(self, frozen: bool, seconds: float = 2.0) -> None:
        """Stop every process of the group where it stands, or let all go on; returns when that is so.

        Raises CgroupError if a process does not stop within `seconds`.
        """
        path, words, seen, is_so = self._state()
        self.frozen = frozen
        path.write_text(words[frozen])
        deadline = time.perf_counter() + seconds
        while is_so[frozen] not in seen.read_text().splitlines():
            if time.perf_counter() > deadline:
                raise CgroupError(f"{path}: a process cannot be frozen")

    def is_frozen(self) -> bool:
        """Return whether the group is frozen, whoever did it."""
        _, _, seen, is_so = self._state()
        return self.frozen or (self.can_freeze and is_so[True] in seen.read_text().splitlines())

    def _state(self) -> tuple[Path, tuple[str, str], Path, tuple[str, str]]:
        """The file to write, what to write to thaw and freeze, the file to read, and the lines that confirm."""
        if self.version == 1:
            path = self._folders.get("freezer", Path("nowhere")) / "freezer.state"
            return path, ("THAWED", "FROZEN"), path, ("THAWED", "FROZEN")
        folder = self._folders["memory"]
        return folder / "cgroup.freeze", ("0", "1"), folder / "cgroup.events", ("frozen 0", "frozen 1")

    def remove(self) -> None:
        """Kill what is left in the group and delete it; raises CgroupError if processes refuse to go."""
        if self.frozen:
            self.freeze(False)
        left = set(self._folders.values())
        for attempt in range(
            2000
        ):  # over a minute and a half: a gibibyte takes a slow machine seconds to free
            left = {folder for folder in left if not _try_to_remove(folder)}
            if not left:
                return
            time.sleep(min(0.001 * 2 ** min(attempt, 6), 0.05))
        raise CgroupError(f"{min(left)}: processes in this control group cannot be killed")


class Cgroups:
    """Where in the hierarchy this process may make groups; raises CgroupError if it may nowhere."""

    def __init__(self, mount: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")):
        self._mount = mount
        self._own = _own_groups(own)
        reasons = []
        for attempt in (self._version2, self._version1):
            try:
                self.version, self._bases = attempt()
                probe = self.create(memory=1 << 30, processes=16, cpus=1)
                probe.remove()
                self._sweep()
                return
            except (OSError, CgroupError, KeyError, ValueError) as error:
                reasons.append(str(error))
        raise CgroupError("no control group can be made here: " + "; ".join(reasons))

    def create(
        self, *, memory: int, processes: int, cpus: float, allowed: Sequence[devices.Device] | None = None
    ) -> Cgroup:
        """Make a group with `memory` bytes (swap included, where counted) and at most `processes` tasks.

        All its processes together get the time of `cpus` processors, where the CPU controller is ours to use, and
        open no devices but those `allowed`, where a list is given and the kernel lets us.
        """
        name = f"grader-{os.getpid()}-{next(_NAMES)}"
        # A hierarchy more costs every job time, and only few need a list.
        bases = {key: base for key, base in self._bases.items() if key != "devices" or allowed is not None}
        folders = {controller: base / name for controller, base in bases.items()}
        for folder in set(folders.values()):
            folder.mkdir(exist_ok=True)
        if self.version == 1:
            (folders["memory"] / "memory.limit_in_bytes").write_text(str(memory))
            swap = folders["memory"] / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text(str(memory))
            # Buffers of TCP and UDP are counted apart, and not at all without a limit of their own.
            sockets = folders["memory"] / "memory.kmem.tcp.limit_in_bytes"
            if sockets.exists():
                sockets.write_text(str(min(memory, _SOCKETS)))
            (folders["pids"] / "pids.max").write_text(str(processes))
            if "cpu" in folders:
                try:
                    (folders["cpu"] / "cpu.cfs_quota_us").write_text(str(round(cpus * _PERIOD)))
                except OSError as error:
                    # Version 1 refuses more than the group above has, as in a container with a share of a processor.
                    # That share then limits this group too.
                    if error.errno != errno.EINVAL:
                        raise
        else:
            (folders["memory"] / "memory.max").write_text(str(memory))
            if (folders["memory"] / "memory.swap.max").exists():
                (folders["memory"] / "memory.swap.max").write_text("0")
            (folders["memory"] / "pids.max").write_text(str(processes))
            if (folders["memory"] / "cpu.max").exists():
                (folders["memory"] / "cpu.max").write_text(f"{round(cpus * _PERIOD)} {_PERIOD}")
        group = Cgroup(self.version, folders)
        if allowed is not None:
            group.lists_devices = _list_devices(self.version, folders, allowed)
        return group

    @property
    def limits_cpu(self) -> bool:
        """Whether a group's share of the processors can be limited; without it a fork bomb slows its neighbours."""
        if self.version == 1:
            return "cpu" in self._bases
        return "cpu" in (self._bases["memory"] / "cgroup.subtree_control").read_text().split()

    def _sweep(self) -> None:
        """Remove the groups of examiners that were killed; one with processes in it stays."""
        for base in set(self._bases.values()):
            for folder in base.glob("grader-*-*"):
                pid = folder.name.split("-")[1]
                if pid.isdigit() and not Path("/proc", pid).exists():
                    state = folder / "freezer.state"
                    with contextlib.suppress(OSError):
                        if state.exists():
                            state.write_text("THAWED")  # what is frozen cannot die with its parent
                        folder.rmdir()

    def _version1(self) -> tuple[int, dict[str, Path]]:
        bases = {}
        for controller in ("memory", "pids", "cpuacct", *_NOT_NEEDED):
            mounted = self._mount / controller
            inside = mounted / self._own.get(controller, "").lstrip("/")
            # In a container the path of the host is not there; the mount itself is then our own group.
            base = inside if inside.is_dir() else mounted
            if controller in self._own and os.access(base, os.W_OK):
                bases[controller] = base
            elif controller in _NOT_NEEDED:
                continue  # grading goes on without; only performance checks, and jobs with a GPU, need them
            elif controller not in self._own:
                raise CgroupError(f"version 1 has no {controller} controller")
            else:
                raise CgroupError(f"{base} is not writable; run as root")
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
            if not wanted | {"cpu"} <= set(control.read_text().split()):
                # The kernel refuses where the group has processes of its own or was not delegated.
                with contextlib.suppress(OSError):
                    control.write_text("+memory +pids")
                with contextlib.suppress(OSError):  # not every user is given this one
                    control.write_text("+cpu")
            if wanted <= set(control.read_text().split()):
                return 2, dict.fromkeys(("memory", "pids", "cpuacct"), base)
        raise CgroupError(
            f"{own} is not delegated to this user; run as root or under "
            "`systemd-run --user --scope -p Delegate=yes`"
        )


def _list_devices(version: int, folders: dict[str, Path], allowed: Sequence[devices.Device]) -> bool:
    """Return whether the kernel holds the group to the devices `allowed`: an ordinary user may not ask it to."""
    try:
        if version == 2:
            devices.allow_version2(folders["memory"], allowed)
        elif "devices" in folders:
            devices.allow_version1(folders["devices"], allowed)
        return version == 2 or "devices" in folders
    except OSError:
        return False


def _try_to_remove(folder: Path) -> bool:
    """Kill what is in this folder's group and delete it; return whether it is gone, whoever deleted it.

    The hierarchies of version 1 empty one after the other: some are gone while others still hold a dying process.
    """
    try:
        if (folder / "cgroup.kill").exists():
            (folder / "cgroup.kill").write_text("1")
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        folder.rmdir()
    except OSError:
        return not folder.is_dir()
    return True


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
