"""One task of an array job, on a compute node: examines the submissions of a batch, one after the other.

    python -m grader.runners.slurm.task FOLDER

FOLDER is the attempt's; SLURM_ARRAY_TASK_ID says which task this is. It takes its key, then starts the zygote, a
program of its own: what a worker may read of the zygote's memory has never held a key.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grader.book.keys import check_digests, environment_digest
from grader.course import Course, CourseError
from grader.examine.examiner import Examiner
from grader.runners.local import Starting, zygote_for
from grader.runners.slurm import sealed
from grader.runners.slurm.rounds import Answer, Asked, Ended
from grader.runners.slurm.sealed import About, Refused
from grader.sandbox.build import SandboxError
from grader.sandbox.packed import Packed

TROUBLE = 3  # exit status: this node cannot grade


class _Over(Exception):
    """The submit host has given this attempt up."""


def main() -> int:
    """Examine one batch; returns the exit status."""
    folder, number = Path(sys.argv[1]), int(os.environ["SLURM_ARRAY_TASK_ID"])
    key = take_key(folder, number)
    if key is None:
        print("nothing to do: this task was begun before, or its attempt is over")
        return 0
    about = About("task", folder.name, number)
    try:
        told = json.loads(sealed.opened(key, about, sealed.read(folder / f"task-{number}")))
    except (Refused, FileNotFoundError) as error:
        print(f"nothing to do: {error}")
        return 1
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    end = Ended(node)
    try:
        _work(folder, number, key, told, node)
    except _Over:
        print("its attempt is over; what is left of it belongs to another one")
        return 0
    except (SandboxError, CourseError) as error:
        end.trouble = str(error)
        print(f"{node} cannot grade: {error}", file=sys.stderr)
    message = sealed.seal(key, About("end", folder.name, number), json.dumps(asdict(end)).encode())
    try:
        sealed.write(folder / f"end-{number}", message)
    except FileNotFoundError:
        print("its attempt is over")
    return TROUBLE if end.trouble else 0


def take_key(folder: Path, number: int) -> bytes | None:
    """Return a task's key and take it off the disk; None where another process has done so."""
    path = folder / f"key-{number}"
    mine = folder / f".key-{number}-{os.environ.get('SLURM_JOB_ID', '')}-{os.getpid()}"
    try:
        path.rename(mine)  # of two that try only one can
    except FileNotFoundError:
        return None
    key = sealed.read(mine)
    mine.unlink()
    return key


def _work(folder: Path, number: int, key: bytes, told: dict[str, Any], node: str) -> None:
    """Examine every submission, leaving a report after each."""
    course = Course.load(told["course"])
    assignment = course.assignment(told["assignment"])
    parts = {notebook: assignment.part_of_notebook(notebook) for notebook in told["notebooks"]}
    for notebook, digests in told["checks"].items():
        if check_digests(parts[notebook]) != digests:
            raise CourseError(f"the checks of {notebook} are not those of the submit host; grade again")
    if environment_digest() != told["environment"]:
        raise CourseError(
            f"{sys.prefix}: Python, an installed package or the grader differs from the submit host's; grade "
            "from an environment on a disk that all nodes share"
        )
    starting = Starting(told["isolation"], zygote_for(course.root, told["assignment"]))
    try:
        examiner = starting.result()
        startup = _seconds_since_slurm_began()
        for index, asked in enumerate(Asked(**one) for one in told["asked"]):
            _leave(folder / f"began-{number}-{index}", b"")
            answer = _examine(examiner, parts, asked, node, startup)
            about = About("report", folder.name, number, index)
            body = json.dumps(asdict(answer)).encode()
            _leave(folder / f"report-{number}-{index}", sealed.seal(key, about, body))
    finally:
        starting.close()


def _examine(examiner: Examiner, parts: dict[str, Any], asked: Asked, node: str, startup: float) -> Answer:
    started = time.perf_counter()
    examiner.place.take_peak_memory()
    packed = Packed(Path(asked.folder), [name for notebook in parts for name in parts[notebook].files])
    try:
        reports = {
            notebook: json.loads(examiner.examine(parts[notebook], packed, names=names).to_json())
            for notebook, names in asked.checks.items()
        }
        seconds = time.perf_counter() - started
        memory = examiner.place.take_peak_memory()
        return Answer(asked.student, packed.digest, reports, seconds, memory, node, startup)
    finally:
        packed.close()


def _leave(path: Path, data: bytes) -> None:
    try:
        sealed.write(path, data)
    except FileNotFoundError:
        raise _Over from None


def _seconds_since_slurm_began() -> float:
    """Return how long ago the process began that Slurm started for this task on this node."""
    import psutil

    own = psutil.Process()
    parent = own.parent()
    began = parent.create_time() if parent and parent.name().startswith("slurmstepd") else own.create_time()
    return time.time() - began


if __name__ == "__main__":
    sys.exit(main())
