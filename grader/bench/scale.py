"""What a class costs as it grows: seconds and MiB per submission for 20, 200 and 2,000 of them.

    python -m grader.bench.scale [--sizes 20 200 2000] [--jobs 2] [--json FILE]

The submissions are those of `grader.bench.against_nbgrader`. Linear growth shows as equal numbers in each column
but for the start, which is stated apart: it is the time until the first result.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from grader.bench.against_nbgrader import VARIANTS, build_course
from grader.bench.kills import in_gradebook, run

MIB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """What one run over a class cost."""

    students: int
    start: float  # seconds until the first results were in the gradebook
    seconds: float  # of the whole run
    again: float  # seconds of a second run, in which nothing had changed
    examiner_mib: float  # largest resident memory of the examiner
    tree_mib: float  # largest memory of all its processes, shared pages counted once
    disk_mib: float  # of the gradebook, the autograded folders and the reports

    @property
    def each(self) -> float:
        """Seconds per submission after the start."""
        return (self.seconds - self.start) / self.students


def measure(root: Path, students: int, jobs: int) -> Cost:
    """Grade the class at `root` twice."""
    before = _size(root)
    start, seconds, examiner_mib, tree_mib = _graded(root, jobs)
    disk = (_size(root) - before) / MIB
    _, again, _, _ = _graded(root, jobs)
    return Cost(students, start, seconds, again, examiner_mib, tree_mib, disk)


def _graded(root: Path, jobs: int) -> tuple[float, float, float, float]:
    started = time.perf_counter()
    process = run(root, jobs)
    examiner, start, largest, tree = psutil.Process(process.pid), 0.0, 0.0, 0.0
    looked = 0.0
    while True:
        try:
            output, _ = process.communicate(timeout=0.2)
            break
        except subprocess.TimeoutExpired:
            pass
        now = time.perf_counter()
        largest = max(largest, _memory(examiner, "rss"))
        if now - looked > 2:
            looked = now
            tree = max(tree, _memory(examiner, "pss") + sum(_memory(p, "pss") for p in _below(examiner)))
        if not start and in_gradebook(root):
            start = now - started
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"grader grade failed:\n{output[-3000:]}")
    return start, seconds, largest, tree


def _below(examiner: psutil.Process) -> list[psutil.Process]:
    try:
        return examiner.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process, kind: str) -> float:
    try:
        memory = process.memory_info() if kind == "rss" else process.memory_full_info()
        return getattr(memory, kind) / MIB
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


def _size(root: Path) -> int:
    folders = (root / "autograded", root / ".grader")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_blocks * 512 for path in [*files, root / "gradebook.db"])


def class_of(source: Path, target: Path, students: int) -> None:
    """Copy the course at `source`, which has one submission of each variant, with `students` of them."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("submitted"))
    for index in range(students):
        of = source / "submitted" / f"student{index % len(VARIANTS):03d}"
        shutil.copytree(of, target / "submitted" / f"s{index:05d}")


def main() -> None:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 200, 2000])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    console, costs = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        build_course(source, len(VARIANTS))
        for size in options.sizes:
            root = Path(folder) / str(size)
            class_of(source, root, size)
            costs.append(measure(root, size, options.jobs))
            shutil.rmtree(root)
            console.print(f"{size}: {costs[-1].seconds:.0f} s", highlight=False)
    table = Table(title=f"Cost per submission, {options.jobs} at a time", title_justify="left")
    for name in (
        *("submissions", "start (s)", "seconds each", "again, ms each"),
        *("disk, MiB each", "examiner, MiB", "all processes, MiB"),
    ):
        table.add_column(name, justify="right")
    for cost in costs:
        table.add_row(
            *(str(cost.students), f"{cost.start:.1f}", f"{cost.each:.3f}"),
            *(f"{1000 * cost.again / cost.students:.1f}", f"{cost.disk_mib / cost.students:.3f}"),
            *(f"{cost.examiner_mib:.0f}", f"{cost.tree_mib:.0f}"),
        )
    console.print(table)
    if options.json:
        rows = [{**asdict(cost), "each": cost.each} for cost in costs]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
