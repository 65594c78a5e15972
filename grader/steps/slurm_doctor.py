"""What a compute node can isolate and measure, found by a job that tries it there, before a class depends on it.

python -m grader.steps.slurm_doctor FOLDER      # the job's end, on the node
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from grader.book.keys import environment_digest
from grader.book.records import results_folder
from grader.course import Course, CourseError
from grader.runners.slurm import queue, sealed
from grader.runners.slurm.queue import EXAMINER, ControllerAway, Wanted
from grader.runners.slurm.rounds import Keys, Round
from grader.runners.slurm.sealed import About, Refused
from grader.runners.slurm.task import take_key
from grader.steps.doctor import Finding, examine_machine

FOLDER = "slurm-doctor"  # beside the folders of assignments, in .grader
MINUTES = 10
_GRACE = 15.0  # seconds until what a job wrote is seen on another machine


def examine_node(root: Path, tell: Callable[[str], None] = lambda text: None) -> tuple[str, list[Finding]]:
    """Run a job of one task on the cluster of the course at `root`; return the node's name and what was found.

    `tell` is given a line when something changes. Raises CourseError where the job is refused or ends without a word.
    """
    course = Course.load(root)
    parts = [part for assignment in course.assignments.values() for part in assignment.parts.values()]
    keys = Keys(results_folder(course.root, FOLDER))
    made = keys.begin(
        [[]],
        {
            "course": str(course.root),
            "environment": environment_digest(),
            "cpus": course.slurm.cpus,
        },
    )
    memory = course.slurm.memory or EXAMINER + max((part.memory for part in parts), default=0)
    wanted = Wanted(
        replace(course.slurm, minutes=MINUTES), memory, max((part.gpus for part in parts), default=0)
    )
    command = [sys.executable, "-m", "grader.steps.slurm_doctor", str(made.folder)]
    started = time.monotonic()
    try:
        queue.submit(made.job, command, 1, wanted, made.folder)
        data = _wait(keys, made, tell)
        seconds = time.monotonic() - started
        dispatch = Finding(
            "a job",
            "yes",
            f"answered {seconds:.1f} s after it was submitted, {data['startup']:.1f} s of them on the node",
            "each batch pays this once; batches are sized so that it is a tenth",
        )
        return data["node"], [dispatch, _memory(memory), *(Finding(**one) for one in data["findings"])]
    except ControllerAway as error:
        raise CourseError(f"Slurm's controller does not answer: {error}") from None
    finally:
        try:
            queue.cancel(made.job)
        except (ControllerAway, CourseError) as error:
            tell(f"{made.job} may still be in the queue: {error}")
        made.delete()


def _memory(memory: int) -> Finding:
    if not queue.counts_shared_pages():
        return Finding("memory", "yes", f"{memory >> 20} MiB a task", "what processes share is counted once")
    return Finding(
        "memory",
        "note",
        f"{memory >> 20} MiB a task, and Slurm counts what processes share once for each (OverMemoryKill)",
        "all workers share one image of PyTorch: ask for JobAcctGatherParams=UsePss, or double [slurm] memory",
    )


def _wait(keys: Keys, made: Round, tell: Callable[[str], None]) -> dict[str, Any]:
    about, said, gone = About("findings", made.id, 0), "", 0.0
    while True:
        try:
            message = sealed.read(made.folder / "findings")
            return json.loads(sealed.opened(keys.of(made.id, 0), about, message))
        except FileNotFoundError:
            state = queue.states([made.job]).get((made.job, 0))
        except Refused as error:
            raise CourseError(f"what came back from the node is not taken: {error}") from None
        line = f"{state.name} {state.node or state.reason}" if state else "ended"
        if line != said:
            tell(f"the job is {line}")
        said = line
        if state is None or not state.alive:
            gone = gone or time.monotonic()
            if time.monotonic() - gone > _GRACE:
                printed = made.printed(made.tasks[0]) or "nothing, perhaps the node does not see this folder"
                raise CourseError(
                    f"the job on {state.node if state else 'a node'} ended ({line}) without a word; it printed: "
                    f"{printed}. It runs {sys.executable} and reads {made.folder}: both must be on a disk that all "
                    "nodes share"
                )
        time.sleep(1)


# --- on the node ------------------------------------------------------------------------------------------------


def main() -> int:
    """Look at this node, and leave what was found; returns the exit status."""
    begun = time.monotonic()
    folder, number = Path(sys.argv[1]), int(os.environ["SLURM_ARRAY_TASK_ID"])
    key = take_key(folder, number)
    if key is None:
        print("nothing to do: nobody waits for it")
        return 0
    told = json.loads(sealed.opened(key, About("task", folder.name, number), sealed.read(folder / "task-0")))
    findings = [*_same(told), *examine_machine()]
    data = {
        "node": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "startup": time.monotonic() - begun,
        "findings": [asdict(finding) for finding in findings],
    }
    message = sealed.seal(key, About("findings", folder.name, number), json.dumps(data).encode())
    sealed.write(folder / "findings", message)
    return 0


def _same(told: dict[str, Any]) -> list[Finding]:
    """Compare with the submit host: the course, the environment, the processors."""
    try:
        Course.load(told["course"])
        course = Finding("course", "yes", told["course"], "the node reads checks and submissions there")
    except CourseError as error:
        course = Finding("course", "no", str(error), "put the course on a disk that all nodes share")
    same = environment_digest() == told["environment"]
    environment = Finding(
        "environment",
        "yes" if same else "no",
        f"{sys.prefix}, Python {platform.python_version()}",
        "the same as on the submit host"
        if same
        else "differs from the submit host's: tasks there will refuse",
    )
    cores = len(os.sched_getaffinity(0))
    # Slurm confines a task to its processors only where the cluster says so.
    processors = Finding(
        "processors",
        "yes" if cores >= told["cpus"] else "note",
        f"{cores} may be used, {told['cpus']} were asked for",
        "checks on speed are measured on them"
        if cores == told["cpus"]
        else "others' jobs may run on the same ones",
    )
    return [course, environment, processors]


if __name__ == "__main__":
    sys.exit(main())
