"""What this machine can isolate and measure, found by trying it, and what follows from each finding."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from grader.examine.cards import Cards, title
from grader.examine.examiner import Examiner
from grader.sandbox import seccomp
from grader.sandbox.build import SandboxError
from grader.sandbox.cgroup import CgroupError, Cgroups
from grader.sandbox.gpu import Gpu

_SETTINGS = {
    # name below /proc/sys: value that forbids namespaces to ordinary users, value that allows them
    "kernel/unprivileged_userns_clone": ("0", "1"),  # Debian and its relatives only
    "user/max_user_namespaces": ("0", "15000"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),  # Ubuntu since 23.10
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is there, what was seen, and what follows for grading."""

    name: str
    state: str  # yes, no or note
    seen: str
    follows: str


def examine_machine() -> list[Finding]:
    """Try everything that grading relies on; never raises for what is missing."""
    return [_system(), *_namespaces(), _cgroups(), _seccomp(), _bubblewrap(), *_gpu(), _alembic()]


def _system() -> Finding:
    seen = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, torch {torch.__version__}"
    if sys.platform != "linux":
        return Finding("system", "no", seen, "`grader check` works without isolation; grade on Linux")
    user = "root" if os.geteuid() == 0 else "an ordinary user"
    return Finding(
        "system", "yes", f"{seen}, {user}, {len(os.sched_getaffinity(0))} cores", "grading can run here"
    )


def _namespaces() -> list[Finding]:
    try:
        started = time.perf_counter()
        with Examiner("namespaces") as examiner:
            seconds = time.perf_counter() - started
            ranks = _ranks(examiner)
    except (SandboxError, OSError) as error:
        return [
            Finding(
                "namespaces",
                "no",
                str(error),
                f"`grader grade` refuses; {remedy(os.geteuid() == 0)}",
            )
        ]
    found = Finding(
        "namespaces",
        "yes",
        f"a sandboxed worker answered {seconds:.1f} s after the start, torch imported",
        "own file system, processes and network per worker",
    )
    return [found, ranks]


def remedy(root: bool, settings: Path = Path("/proc/sys")) -> str:
    """What to do where the kernel makes no namespaces, by the `settings` that stand in an ordinary user's way."""
    if root:
        return "this container holds back what root may do elsewhere: start it with --privileged, or grade outside"
    wrong = [
        f"{name.replace('/', '.')}={allows}"
        for name, (forbids, allows) in _SETTINGS.items()
        if (settings / name).exists() and (settings / name).read_text().strip() == forbids
    ]
    if wrong:
        return f"run as root, or once as root: sysctl {' '.join(wrong)}"
    return "run as root; no setting of the kernel forbids user namespaces, so a container or a chroot may"


def _ranks(examiner: Examiner) -> Finding:
    try:
        examiner.try_ranks()
    except SandboxError as error:
        return Finding(
            "network of ranks", "no", str(error), "checks with several ranks cannot run: modprobe veth"
        )
    return Finding(
        "network of ranks",
        "yes",
        "two ranks started, joined by a veth cable",
        "bytes and packets between each pair of ranks are read from outside",
    )


def _cgroups() -> Finding:
    try:
        groups = Cgroups()
    except (CgroupError, OSError) as error:
        return Finding(
            "control groups",
            "no",
            str(error),
            "no limit for a submission as a whole, no peak memory or CPU time; `grader grade` refuses",
        )
    if not groups.limits_cpu:
        return Finding(
            "control groups",
            "note",
            f"version {groups.version}, without the CPU controller",
            "memory and processes are limited, CPU time is not: a submission can slow its neighbours, so grade with "
            "--jobs 1",
        )
    return Finding(
        "control groups",
        "yes",
        f"version {groups.version}",
        "memory, processes and CPU time are limited; CPU time and peak memory are read from outside",
    )


def _seccomp() -> Finding:
    try:
        seccomp.program()
        with open("/proc/self/status") as status:
            known = "Seccomp:" in status.read()
    except (NotImplementedError, OSError) as error:
        return Finding("seccomp", "no", str(error), "no sandbox on this processor")
    if not known:
        return Finding("seccomp", "no", "the kernel was built without it", "no sandbox on this kernel")
    return Finding(
        "seccomp", "yes", platform.machine(), f"{len(seccomp.DENIED)} system calls are denied to workers"
    )


def _bubblewrap() -> Finding:
    path = shutil.which("bwrap")
    if path is None:
        return Finding("bubblewrap", "note", "not installed", "nothing: the sandbox needs no helper program")
    seen = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.strip()
    return Finding("bubblewrap", "note", seen, "nothing: the sandbox needs no helper program")


def _gpu(cards: Callable[[], Cards] = Cards) -> list[Finding]:
    """What this machine's GPUs allow: which can be graded on, what is measured, and how jobs are held apart."""
    try:
        found = cards()
        good, bad = found.usable()
    except SandboxError as error:
        follows = "parts with gpus = 1 are not graded here; labs run on the CPU and show recorded GPU results"
        return [Finding("GPU", "no", str(error), follows)]
    findings = [Finding("GPU", "no", sentence, "nothing is graded on it") for sentence in bad]
    for device, _ in good:
        told = ", ".join(f"{name} {mhz} MHz" for name, mhz in found.nvml.clocks(device).items())
        seen = f"{title(device)}, {device.memory / (1 << 30):.0f} GiB" + (f", {told}" if told else "")
        follows = "one job at a time; NVML reads its peak memory, and whether it is clean, from outside"
        if not torch.cuda.is_available():
            state, follows = (
                "note",
                f"{follows}; torch {torch.__version__} cannot use it: install one for CUDA",
            )
        else:
            state = "yes"
        findings.append(Finding("GPU", state, seen, follows))
    if good:
        findings.append(_device_list(good[0][1]))
    return findings


def _device_list(inside: Gpu) -> Finding:
    name, no = (
        "list of devices",
        "a job sees no node of another GPU and can make none; there is no second wall",
    )
    try:
        group = Cgroups().create(memory=1 << 28, processes=8, cpus=1, allowed=inside.allowed())
    except (CgroupError, OSError) as error:
        return Finding(name, "note", str(error), no)
    lists = group.lists_devices
    group.remove()
    if not lists:
        return Finding(name, "note", "only root may limit which devices a control group opens", no)
    return Finding(name, "yes", f"control groups, version {group.version}", "a job can open its own GPU only")


def _alembic() -> Finding:
    # nbgrader calls it by name; the grader puts the environment's own programs first on PATH.
    if shutil.which("alembic", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"):
        return Finding("alembic", "yes", "in this environment", "nbgrader can make and upgrade its database")
    return Finding("alembic", "no", "not found", "nbgrader cannot make a database: pip install alembic")
