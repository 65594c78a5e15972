"""Kill the grader at random instants, start it again, and compare the end with that of an undisturbed run.

    python -m grader.bench.kills [--students 200] [--kills 100] [--seed 0] [--jobs 2] [--within 1.0]

Each kill is SIGKILL to the examiner, its zygote, or one of the processes around a worker. A submission that the
gradebook held when the examiner died must not run again; scores, comments, autograded files and reports must be
those of a run that nobody disturbed; no process and no control group may be left.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text

from effdl.processes import still_alive
from grader.bench.against_nbgrader import ASSIGNMENT, build_course
from grader.book.nbgrader_course import NbCourse
from grader.examine.examiner import KILLED

PATIENCE = 3600  # seconds that one run may take, only to end what hangs


@dataclass
class Disturbed:
    """What happened to a class whose grader was killed again and again."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    twice: list[str] = field(default_factory=list)  # ran again although the gradebook held them
    left_over: int = 0  # processes that outlived their examiner
    output: str = ""  # what the last, undisturbed start said


def run(root: Path, jobs: int = 2) -> subprocess.Popen[str]:
    """Start grading, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "grader",
        "grade",
        ASSIGNMENT,
        "--course",
        str(root),
        "--jobs",
        str(jobs),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def disturb(root: Path, kills: int, seed: int, *, jobs: int = 2, within: float = 1.0) -> Disturbed:
    """Grade the class at `root`, killing something `kills` times, each up to `within` seconds after the last.

    Raises RuntimeError where the grader ends in an error that is no kill of ours.
    """
    rng, found = random.Random(seed), Disturbed()
    committed: dict[str, int] = {}  # student -> how often it had run when it was first seen in the gradebook
    seen: set[psutil.Process] = set()
    while True:
        examiner = run(root, jobs)
        found.starts += 1
        process = psutil.Process(examiner.pid)
        while sum(found.kills.values()) < kills and examiner.poll() is None:
            time.sleep(rng.uniform(0.02, within))
            victim, name = _victim(process, rng, seen)
            if victim is None:
                continue
            try:
                victim.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
            found.kills[name] += 1
            if victim == process:
                break
        output, _ = examiner.communicate(timeout=PATIENCE)
        for student in in_gradebook(root):
            committed.setdefault(student, runs(root, student))
        if examiner.returncode == 0:
            break
        if examiner.returncode != -signal.SIGKILL:
            raise RuntimeError(f"grader grade ended with {examiner.returncode}:\n{output[-3000:]}")
    found.output = output
    found.twice = [student for student, count in committed.items() if runs(root, student) > count]
    found.left_over = len(still_alive(seen, seconds=20))
    return found


def _victim(
    examiner: psutil.Process, rng: random.Random, seen: set[psutil.Process]
) -> tuple[psutil.Process | None, str]:
    try:
        zygotes = examiner.children()
        below = [process for zygote in zygotes for process in zygote.children(recursive=True)]
        # Leaders that have ended wait for the zygote's next request to be reaped.
        workers = [process for process in below if process.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return None, ""
    seen.update(zygotes, workers)
    if not workers and rng.random() < 0.8:
        return None, ""  # it starts, which takes long and has few instants that differ
    name = rng.choice(["examiner", "zygote", "worker"])
    candidates = {"examiner": [examiner], "zygote": zygotes, "worker": workers}[name]
    return (rng.choice(candidates), name) if candidates else (None, "")


def in_gradebook(root: Path) -> list[str]:
    """Return the students whose result the gradebook holds."""
    engine = create_engine(NbCourse.open(root).folders.db_url)
    query = text(
        "select s.student_id from grader_run r join submitted_assignment s on s.id = r.submission_id"
    )
    try:
        with engine.connect() as connection:
            exists = engine.dialect.has_table(connection, "grader_run")
            return list(connection.execute(query).scalars()) if exists else []
    finally:
        engine.dispose()


def runs(root: Path, student: str) -> int:
    """Return how often the student's code ran, by the submission's own log."""
    path = root / ".grader" / ASSIGNMENT / "logs" / f"{student}.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return sum("; ran " in line and "; ran nothing" not in line for line in lines)


def state(root: Path) -> dict[str, Any]:
    """Return everything that a run leaves, but for times and the names of runs."""
    return {"gradebook": _rows(root), "files": _files(root), "records": _records(root)}


def _rows(root: Path) -> list[list[Any]]:
    gradebook = NbCourse.open(root).gradebook()
    try:
        found = []
        for notebook in gradebook.notebook_submissions("problem1", ASSIGNMENT):
            student = notebook.student.id
            found += [[student, g.cell.name, g.auto_score, g.needs_manual_grade] for g in notebook.grades]
            found += [[student, c.cell.name, c.auto_comment] for c in notebook.comments]
        return sorted(found, key=repr)
    finally:
        gradebook.close()


def _files(root: Path) -> dict[str, str]:
    folder = root / "autograded"
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _records(root: Path) -> dict[str, Any]:
    found = {}
    for path in sorted((root / ".grader" / ASSIGNMENT).glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        for name in ("run", "basis", "graded", "wall", "memory"):
            del data[name]
        # That a worker was killed is said, and is no result.
        for holds in (data, *data["judged"].values()):
            holds["notes"] = [note for note in holds["notes"] if not note.endswith(KILLED)]
        found[path.name] = data
    return found


def _differences(expected: Any, actual: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(expected, dict):
        for key in expected.keys() | actual.keys():
            if expected.get(key) != actual.get(key):
                yield {key: expected.get(key)}, {key: actual.get(key)}
    else:
        yield [row for row in expected if row not in actual], [row for row in actual if row not in expected]


def main() -> None:
    """Grade one copy undisturbed and one under fire, and say how they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=200)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--within", type=float, default=1.0, help="seconds from one kill to the next, at most"
    )
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        calm, stormy = Path(folder) / "calm", Path(folder) / "stormy"
        build_course(calm, options.students)
        shutil.copytree(calm, stormy)
        started = time.perf_counter()
        undisturbed = run(calm, options.jobs)
        output, _ = undisturbed.communicate(timeout=PATIENCE)
        if undisturbed.returncode:
            sys.exit(f"the undisturbed run failed:\n{output[-3000:]}")
        between = time.perf_counter()
        found = disturb(stormy, options.kills, options.seed, jobs=options.jobs, within=options.within)
        ended = time.perf_counter()
        expected, actual = state(calm), state(stormy)
    different = [name for name in expected if expected[name] != actual[name]]
    table = Table(title=f"{options.students} submissions, {found.kills.total()} kills (seed {options.seed})")
    table.add_column("what")
    table.add_column("found", justify="right")
    for name, count in sorted(found.kills.items()):
        table.add_row(f"kills of {name}", str(count))
    table.add_row("starts of the examiner", str(found.starts))
    table.add_row("ran again though the gradebook held them", str(len(found.twice)))
    table.add_row("processes left over", str(found.left_over))
    table.add_row("differs from the undisturbed run", ", ".join(different) or "nothing")
    table.add_row("undisturbed, disturbed (s)", f"{between - started:.0f}, {ended - between:.0f}")
    console.print(table)
    for name in different:
        for before, after in list(_differences(expected[name], actual[name]))[:3]:
            console.print(f"{name}: {before!r:.600}\n  became {after!r:.600}", markup=False, highlight=False)
    if found.twice or found.left_over or different:
        sys.exit(1)


if __name__ == "__main__":
    main()
