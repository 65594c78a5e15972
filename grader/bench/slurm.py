"""A class on an emulated Slurm cluster: against the local runner, and under fire.

    python -m grader.bench.slurm [--submissions 200] [--nodes 2] [--json FILE]       # what a submission costs
    python -m grader.bench.slurm --kills 100 --submissions 500 [--seed 0]            # does the end stay the same

Both runners grade copies of one class, each in a fresh process. The cluster is real Slurm on this machine, with
emulated nodes: what it adds is Slurm's and ours, and nothing of a network or a shared disk. Under fire, one of these
happens again and again: the submit host is killed; a node loses its power, or is declared down; a task is cancelled,
preempted or killed; the controller is killed. A submission that the gradebook held when the submit host died must not
run again, and the end must be that of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from grader.bench import kills, slurm_class
from grader.bench.against_nbgrader import ASSIGNMENT
from grader.bench.cluster import Cluster, missing

PATIENCE = 3600  # seconds that one run may take, only to end what hangs


def run(root: Path, runner: str, jobs: int, *options: str) -> subprocess.Popen[bytes]:
    """Start grading, in a process of its own; what it prints is appended to the file `output` names."""
    command = [sys.executable, "-m", "grader", "grade", ASSIGNMENT, "--course", str(root), "--runner", runner]
    with open(output(root), "ab") as file:
        return subprocess.Popen(
            [*command, "--jobs", str(jobs), *options], stdout=file, stderr=subprocess.STDOUT
        )


def output(root: Path) -> Path:
    """Return the file of what grading the class at `root` prints."""
    return root.with_name(f"{root.name}.txt")


def timed(root: Path, runner: str, jobs: int, *options: str) -> float:
    """Grade the class at `root`; return the seconds of the whole command."""
    started = time.perf_counter()
    if run(root, runner, jobs, *options).wait(PATIENCE):
        raise RuntimeError(f"grader grade --runner {runner} failed:\n{output(root).read_text()[-3000:]}")
    return time.perf_counter() - started


# --- what a submission costs ----------------------------------------------------------------------------------


def compare(submissions: int, nodes: int, folder: Path) -> dict[str, float]:
    """Grade a class locally and on a cluster of `nodes` nodes with one processor each; return the seconds.

    Each grades twice, the second time by force, when the cluster's runner knows what a submission takes. Raises
    RuntimeError where the results differ.
    """
    local, slurm = folder / "local", folder / "slurm"
    slurm_class.build(local, submissions, at_once=nodes)
    shutil.copytree(local, slurm)
    found = {"submissions": submissions, "nodes": nodes, "local": timed(local, "local", nodes)}
    found["local, again"] = timed(local, "local", nodes, "--force")
    with Cluster(folder / "cluster", nodes, cpus=1):
        found["slurm"] = timed(slurm, "slurm", nodes)
        found["slurm, again"] = timed(slurm, "slurm", nodes, "--force")
    expected, actual = slurm_class.state(local), slurm_class.state(slurm)
    if different := [name for name in expected if expected[name] != actual[name]]:
        raise RuntimeError(f"the runners differ in {', '.join(different)}")
    return found | json.loads((slurm / ".grader" / ASSIGNMENT / "slurm" / "measured.json").read_text())


def show(found: dict[str, float], console: Console) -> None:
    """Print what `compare` found."""
    count = found["submissions"]
    table = Table(title=f"{count:.0f} submissions, {found['nodes']:.0f} at once", title_justify="left")
    table.add_column("runner")
    for name in ("whole run (s)", "of a submission (s)", "more than local (ms each)"):
        table.add_column(name, justify="right")
    for suffix in ("", ", again"):
        for name in ("local", "slurm"):
            seconds, more = found[name + suffix], found[name + suffix] - found["local" + suffix]
            table.add_row(
                name + suffix, f"{seconds:.1f}", f"{seconds / count:.3f}", f"{1000 * more / count:.0f}"
            )
    console.print(table)
    console.print(
        f"Again: {found['tasks']:.0f} tasks, {found['startup']:.1f} s until one examines, {found['seconds']:.3f} s a "
        f"submission; starts took {found['share']:.1%} of the tasks' time.",
        highlight=False,
    )


# --- under fire -----------------------------------------------------------------------------------------------


@dataclass
class Disturbed:
    """What happened to a class on a cluster that lost something again and again."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    twice: list[str] = field(default_factory=list)  # ran again although the gradebook held them
    refused: int = 0  # reports


def disturb(
    root: Path, cluster: Cluster, count: int, seed: int, within: float, minutes: float = 600
) -> Disturbed:
    """Grade the class at `root`, and do `count` things to the cluster and to the submit host in `minutes` at most.

    The next one comes up to `within` seconds after something new is in the gradebook, so that a machine of any speed
    gets on. Raises RuntimeError where the grader ends in an error that is no kill of ours.
    """
    rng, found = random.Random(seed), Disturbed()
    end = time.monotonic() + 60 * minutes
    committed: dict[str, int] = {}  # student -> how often it had run when it was first seen in the gradebook

    def look() -> int:
        for student in kills.in_gradebook(root):
            committed.setdefault(student, kills.runs(root, student))
        return len(committed)

    while True:
        host = run(root, "slurm", 4)
        found.starts += 1
        known, begun = look(), time.monotonic()
        while host.poll() is None:
            quiet = found.kills.total() >= count or time.monotonic() > end
            if quiet or (look() == known and time.monotonic() - begun < 15):
                time.sleep(0.2)
                continue
            time.sleep(rng.uniform(0, within))
            name = rng.choice([_SUBMIT_HOST, *_FAULTS])
            if name == _SUBMIT_HOST:
                host.kill()
            elif not _FAULTS[name](cluster, rng):
                continue
            found.kills[name] += 1
            known, begun = look(), time.monotonic()
        look()
        if host.returncode == 0:
            break
        if host.returncode != -signal.SIGKILL:
            raise RuntimeError(
                f"grader grade ended with {host.returncode}:\n{output(root).read_text()[-3000:]}"
            )
    found.twice = [student for student, times in committed.items() if kills.runs(root, student) > times]
    refused = root / ".grader" / ASSIGNMENT / "slurm" / "refused"
    found.refused = len(list(refused.iterdir())) if refused.is_dir() else 0
    return found


def _power(cluster: Cluster, rng: random.Random) -> bool:
    node = rng.choice(cluster.nodes)
    cluster.kill(node)
    cluster.kill_steps(node)
    time.sleep(rng.uniform(0, 2))
    cluster.start_node(node)
    return True


def _down(cluster: Cluster, rng: random.Random) -> bool:
    node = rng.choice(cluster.nodes)
    cluster.down(node)
    time.sleep(rng.uniform(0.5, 2))
    cluster.resume(node)
    return True


def _cancelled(cluster: Cluster, rng: random.Random) -> bool:
    jobs = cluster.running()
    if jobs:
        cluster.say("scancel", rng.choice(jobs))
    return bool(jobs)


def _preempted(cluster: Cluster, rng: random.Random) -> bool:
    node = rng.choice(cluster.nodes)
    options = ["--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null"]
    cluster.say("sbatch", *options, "--wrap", f"sleep {rng.uniform(0.2, 1.5):.1f}")
    return True


def _task(cluster: Cluster, rng: random.Random) -> bool:
    found = cluster.tasks("grader.runners.slurm.task")
    if found:
        try:
            rng.choice(found).kill()
        except psutil.NoSuchProcess:
            return False
    return bool(found)


def _controller(cluster: Cluster, rng: random.Random) -> bool:
    cluster.kill("slurmctld")
    time.sleep(rng.uniform(0, 2))
    cluster.start_controller()
    return True


_SUBMIT_HOST = "submit host"  # no part of the cluster
_FAULTS: dict[str, Callable[[Cluster, random.Random], bool]] = {
    "power of a node": _power,
    "node declared down": _down,
    "task cancelled": _cancelled,
    "task preempted": _preempted,
    "task killed": _task,
    "controller": _controller,
}


def under_fire(options: argparse.Namespace, folder: Path) -> bool:
    """Grade a class undisturbed and one under fire; print how they differ, and return whether they do not."""
    submissions, seed, nodes = options.submissions, options.seed, options.nodes
    console = Console()
    calm, stormy = folder / "calm", folder / "stormy"
    slurm_class.build(calm, submissions, at_once=2 * nodes, minutes=2)
    shutil.copytree(calm, stormy)
    before = timed(calm, "local", 2)
    started = time.perf_counter()
    with Cluster(folder / "cluster", nodes, cpus=2) as cluster:
        found = disturb(stormy, cluster, options.kills, seed, options.within, options.minutes)
        seconds = time.perf_counter() - started
    expected, actual = slurm_class.state(calm), slurm_class.state(stormy)
    different = [name for name in expected if expected[name] != actual[name]]
    missing_students = submissions - len(kills.in_gradebook(stormy))
    table = Table(title=f"{submissions} submissions, {found.kills.total()} faults (seed {seed})")
    table.add_column("what")
    table.add_column("found", justify="right")
    for name, times in sorted(found.kills.items()):
        table.add_row(name, str(times))
    table.add_row("starts of the submit host", str(found.starts))
    table.add_row("ran again though the gradebook held them", str(len(found.twice)))
    table.add_row("missing in the gradebook", str(missing_students))
    table.add_row("reports refused", str(found.refused))
    table.add_row("differs from an undisturbed local run", ", ".join(different) or "nothing")
    table.add_row("undisturbed local, disturbed slurm (s)", f"{before:.0f}, {seconds:.0f}")
    console.print(table)
    return not (found.twice or different or missing_students)


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument(
        "--kills", type=int, default=0, help="faults; with any, the class is graded under fire"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--within", type=float, default=2.0, help="seconds from news to the next fault, at most"
    )
    parser.add_argument("--minutes", type=float, default=600, help="after which no fault comes any more")
    parser.add_argument("--json", type=Path, help="also write the numbers of the comparison here")
    options = parser.parse_args()
    if told := missing():
        sys.exit(told)
    with tempfile.TemporaryDirectory() as folder:
        if options.kills:
            sys.exit(0 if under_fire(options, Path(folder)) else 1)
        found = compare(options.submissions, options.nodes, Path(folder))
    show(found, Console())
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
