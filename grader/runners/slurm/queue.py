"""What we say to Slurm, through its own commands: sbatch, squeue, scancel."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from grader.course import CourseError
from grader.slurm_settings import Slurm

# States in which something of a task may still run, or will.
ALIVE = {
    *("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD"),
    *("REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "RESV_DEL_HOLD"),
}
# Ends that say nothing about what the task was doing.
NOT_ITS_OWN = {"NODE_FAIL", "PREEMPTED", "CANCELLED", "BOOT_FAIL", "REVOKED"}
MOST_TASKS = 1000  # of one array: a cluster allows 1001 where nobody says otherwise (MaxArraySize)
EXAMINER = 2 << 30  # bytes for the examiner and its zygote, beside what a submission may use
_SECONDS = 120  # that a command may take; it waits for the controller itself, some ten seconds
_AWAY = re.compile(
    r"unable to contact slurm controller|timed out|zero bytes|connection refused|try again|"
    r"transport endpoint|temporarily|in standby|communication connection failure|unexpected message",
    re.IGNORECASE,
)


class ControllerAway(Exception):
    """Nobody knows what became of the question: the controller did not answer it."""


@dataclass(frozen=True)
class State:
    """What Slurm says of one task."""

    name: str  # such as PENDING, RUNNING, TIMEOUT
    node: str
    reason: str

    @property
    def alive(self) -> bool:
        return self.name in ALIVE

    @property
    def waits(self) -> bool:
        return self.name == "PENDING"


@dataclass(frozen=True)
class Wanted:
    """What each task of an array is to get."""

    settings: Slurm
    memory: int  # bytes
    gpus: int = 0
    exclude: tuple[str, ...] = ()  # nodes

    def options(self, tasks: int) -> list[str]:
        """Return what sbatch is told, for an array of `tasks`."""
        of = self.settings
        found = [
            f"--array=0-{tasks - 1}%{of.at_once}",
            *("--nodes=1", "--ntasks=1", f"--cpus-per-task={of.cpus}"),
            f"--mem={-(-self.memory >> 20)}M",
            f"--time={of.minutes}",
            # A second start would find its key used up: what a task did not do goes into a new attempt.
            "--no-requeue",
            # Nothing of this shell's environment: it may hold what is nobody's business on a node.
            "--export=LANG=C.UTF-8",
        ]
        found += [f"--gres=gpu:{self.gpus}"] if self.gpus else []
        found += [f"--partition={of.partition}"] if of.partition else []
        found += [f"--account={of.account}"] if of.account else []
        found += [f"--exclude={','.join(self.exclude)}"] if self.exclude else []
        return found + list(of.options)


def submit(name: str, command: Sequence[str], tasks: int, wanted: Wanted, output: Path) -> None:
    """Submit an array of `tasks`, each of which runs `command`; what they print goes to `output`/TASK.txt.

    Raises CourseError with what sbatch said of options that it does not take, ControllerAway where nobody can know
    whether the array was taken: ask `states`.
    """
    words = [*wanted.settings.launch, *command]
    # No secret: administrators read scripts, and everybody on a node reads command lines.
    script = f"#!/bin/sh\nexport PATH=/usr/local/bin:/usr/bin:/bin\nexec {shlex.join(words)}\n"
    # In names of files sbatch replaces what follows a percent sign.
    folder = str(output).replace("%", "%%")
    options = [f"--job-name={name}", f"--output={folder}/%a.txt", f"--chdir={output}", "--parsable"]
    _say(["sbatch", *options, *wanted.options(tasks)], script)


def states(names: Iterable[str]) -> dict[tuple[str, int], State]:
    """Return what Slurm knows of the tasks of these jobs, by the job's name and the task's number.

    It forgets a task some minutes after its end. Raises ControllerAway.
    """
    told = _say(
        [
            *("squeue", "--noheader", "--array", "--states=all", f"--name={','.join(names)}"),
            *("--user", str(os.getuid()), "--format=%j|%K|%T|%N|%r"),
        ]
    )
    found: dict[tuple[str, int], State] = {}
    for line in told.splitlines():
        name, task, state, node, reason = (line.strip().split("|", 4) + [""] * 5)[:5]
        if not task.isdigit():
            continue
        # sbatch may have been heard twice; what counts is whether one of them lives.
        known = found.get((name, int(task)))
        if known is None or not known.alive:
            found[name, int(task)] = State(state.partition(" ")[0], node, reason)
    return found


def cancel(name: str) -> None:
    """Cancel a job by its name, where it is still there; raises ControllerAway or CourseError."""
    _say(["scancel", f"--name={name}", "--user", str(os.getuid())])


def counts_shared_pages() -> bool:
    """Return whether Slurm ends a job for memory that it counts once for each process that shares it.

    Raises ControllerAway and CourseError as `submit` does.
    """
    told = re.search(r"^JobAcctGatherParams *= (.*)$", _say(["scontrol", "show", "config"]), re.MULTILINE)
    params = {one.lower() for one in re.split(r"[,\s]+", told[1])} if told else set[str]()
    return "overmemorykill" in params and not params & {"usepss", "noshared"}


def _say(command: Sequence[str], text: str = "") -> str:
    if shutil.which(command[0]) is None:
        raise CourseError(
            f"{command[0]}: not found; --runner slurm works where Slurm's commands are installed, "
            "on a login node of the cluster"
        )
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise ControllerAway(f"{command[0]} did not end within {_SECONDS} s") from None
    if done.returncode == 0:
        return done.stdout
    told = " ".join(done.stderr.split())[:500]
    if _AWAY.search(told):
        raise ControllerAway(told)
    if command[0] == "squeue" and "Invalid job" in told:
        return ""
    raise CourseError(f"{command[0]} refused: {told}; see [slurm] in course.toml")
