"""This grader against stock `nbgrader autograde`: the same plain courses, the same submissions, one run.

    python -m grader.bench.against_nbgrader [NAME ...] [--submissions 20] [--rounds 1] [--profile] [--to FILE]

Each notebook of `grader/bench/timed_notebooks` makes a course, released by nbgrader. Half of its submissions are
right, a quarter wrong, a quarter empty. Both graders take turns, each in a fresh process with an identical gradebook,
one submission at a time; the time is that of the whole command, so ours has its start in it and the runs of the
reference that decide where tests run. The scores must agree cell by cell, and right submissions must have all points,
others not. Afterwards ours runs twice more: with everything to be graded again but nothing to be decided, and with
nothing changed. All 16 take some 25 minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from grader.bench import profiles, timed_notebooks
from grader.bench.plain_notebooks import Plain
from grader.book.nbgrader_course import NbCourse
from grader.lean import nbformat
from grader.notebooks.template import grade_id

ASSIGNMENT = "ps1"
NOTEBOOK = "problem1"
VARIANTS = ("right", "partly", "wrong", "empty", "helper")
RESULTS = Path(__file__).parent / "results" / "against_nbgrader.md"
STOCK = sys.executable, "-m", "nbgrader", "autograde", ASSIGNMENT
OURS = sys.executable, "-m", "grader", "grade", ASSIGNMENT, "--course", ".", "--jobs", "1"

Scores = dict[str, dict[str, float | None]]

# --- courses ------------------------------------------------------------------------------------------------


def kinds_of(plain: Plain) -> tuple[str, ...]:
    """Return the kinds of submissions of a class, in turn: half of them right where the notebook has no others."""
    others = sorted(plain.variants.keys() - {"wrong"})
    return "right", "wrong", "right", "empty", *others


def build_course(
    root: Path, students: int, plain: Plain | None = None, kinds: Sequence[str] = VARIANTS
) -> None:
    """Write a course of one notebook to `root`, release it with nbgrader, and submit for `students`.

    Their submissions are of these `kinds` in turn. The notebook is `softmax` when none is given.
    """
    plain = plain or timed_notebooks.load("softmax")
    source = root / "source" / ASSIGNMENT
    source.mkdir(parents=True)
    (root / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'bench'\n")
    notebook = nbformat.from_dict(plain.source)
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, source / f"{NOTEBOOK}.ipynb")
    for program in plain.data.values():
        subprocess.run([sys.executable, "-I", "-c", program], cwd=source, check=True)
    timed((sys.executable, "-m", "nbgrader", "generate_assignment", ASSIGNMENT), root)
    for index in range(students):
        submit(root, f"student{index:03d}", kinds[index % len(kinds)], plain)


def submit(root: Path, student: str, kind: str, plain: Plain | None = None) -> Path:
    """Hand in one honest notebook; return its path."""
    answers = (plain or timed_notebooks.load("softmax")).answers(kind)
    notebook = nbformat.read(root / "release" / ASSIGNMENT / f"{NOTEBOOK}.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = answers.get(grade_id(cell) or None, cell.source)
    if "" in answers:  # an ungraded cell of the student's own, before the first answer
        first = next(i for i, cell in enumerate(notebook.cells) if grade_id(cell) in answers)
        notebook.cells.insert(first, nbformat.v4.new_code_cell(answers[""]))
    folder = root / "submitted" / student / ASSIGNMENT
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{NOTEBOOK}.ipynb")
    return folder / f"{NOTEBOOK}.ipynb"


def scores(root: Path) -> Scores:
    """Return the automatic score of every test cell of every student, from the gradebook of `root`."""
    gradebook = NbCourse.open(root).gradebook()
    try:
        return {
            notebook.student.id: {grade.cell.name: grade.auto_score for grade in notebook.grades}
            for notebook in gradebook.notebook_submissions(NOTEBOOK, ASSIGNMENT)
        }
    finally:
        gradebook.close()


def timed(command: Sequence[str], root: Path) -> float:
    """Run a command in `root`; return its seconds. Raises RuntimeError with its last words where it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = time.perf_counter()
    done = subprocess.run(command, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-4000:]}")
    return seconds


# --- measuring ----------------------------------------------------------------------------------------------


@dataclass
class Row:
    """What the grading of one class took, in seconds of whole runs, the median of the rounds; and what was wrong."""

    name: str
    submissions: int
    stock: float = 0.0
    ours: float = 0.0
    decided: float = 0.0  # ours, all of it again, with the modes known
    unchanged: float = 0.0  # ours, with nothing to be done
    wrong: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times faster ours is, its start and its decisions included."""
        return self.stock / self.ours

    @property
    def decision(self) -> float:
        return max(0.0, self.ours - self.decided)

    def cells(self) -> list[str]:
        """Return the row of the table."""
        each = [self.stock / self.submissions, self.ours / self.submissions]
        return [
            self.name,
            *(f"{seconds:.2f}" for seconds in each),
            f"{self.ratio:.1f}",
            f"{self.decided / self.submissions:.2f}",
            f"{self.stock / self.decided:.1f}",
            f"{self.decision:.1f}",
            f"{self.unchanged:.1f}",
            str(len(self.wrong)) if self.wrong else "equal",
        ]


HEAD = (
    *("notebook", "stock (s)", "ours (s)", "times faster"),
    *("modes known (s)", "times faster", "deciding, once (s)", "nothing changed, all (s)", "scores"),
)


def measure(plain: Plain, submissions: int, rounds: int, scratch: Path, stock_first: bool = True) -> Row:
    """Grade a class with both graders, in turn, and compare what they gave. `scratch` must not exist."""
    row, kinds = Row(plain.name, submissions), kinds_of(plain)
    built = scratch / "built"
    build_course(built, submissions, plain, kinds)
    seconds: dict[str, list[float]] = {"stock": [], "ours": [], "decided": [], "unchanged": []}
    for number in range(rounds):
        roots = {"stock": scratch / f"stock{number}", "ours": scratch / f"ours{number}"}
        for root in roots.values():
            shutil.copytree(built, root)
        order = ("stock", "ours") if stock_first != number % 2 else ("ours", "stock")
        for who in order:
            seconds[who].append(timed(STOCK if who == "stock" else OURS, roots[who]))
        found = {who: scores(root) for who, root in roots.items()}
        row.wrong += [line for line in compare(found["stock"], found["ours"], kinds) if line not in row.wrong]
        seconds["decided"].append(timed((*OURS, "--force"), roots["ours"]))
        row.wrong += [] if scores(roots["ours"]) == found["ours"] else ["graded again, other scores"]
        seconds["unchanged"].append(timed(OURS, roots["ours"]))
        for root in roots.values():
            shutil.rmtree(root)
    for name, values in seconds.items():
        setattr(row, name, statistics.median(values))
    return row


def compare(stock: Scores, ours: Scores, kinds: Sequence[str]) -> list[str]:
    """Return in which cells two graders differ, and which kind of submission got what it should not."""
    wrong, best = [], sum(max(row.get(cell) or 0.0 for row in stock.values()) for cell in _cells(stock))
    for number, student in enumerate(sorted(stock.keys() | ours.keys())):
        kind = kinds[number % len(kinds)]
        theirs, mine = stock.get(student, {}), ours.get(student, {})
        for cell in sorted(theirs.keys() | mine.keys()):
            if theirs.get(cell) != mine.get(cell):
                wrong.append(f"{student} ({kind}), {cell}: stock {theirs.get(cell)}, ours {mine.get(cell)}")
        total = sum(value or 0.0 for value in theirs.values())
        if (total == best) != (kind in ("right", "helper")):
            wrong.append(f"{student} ({kind}): {total:g} of {best:g} points in stock nbgrader")
    return wrong


def _cells(found: Scores) -> set[str]:
    return {cell for row in found.values() for cell in row}


# --- telling ------------------------------------------------------------------------------------------------


def report(rows: Sequence[Row], submissions: int, rounds: int, load: float) -> str:
    """Return the page with the table. `load` is what else ran on this machine when the run began."""
    ratios = [row.ratio for row in rows]
    lines = [
        "# This grader and stock nbgrader",
        "",
        f"`python -m grader.bench.against_nbgrader`, {datetime.now():%Y-%m-%d %H:%M}: {submissions} submissions of "
        f"each notebook, one at a time, {rounds} {'round' if rounds == 1 else 'rounds'}; {os.cpu_count()} "
        f"processors, on average {load:.1f} busy when it began. Seconds are those of the whole command by the number "
        "of submissions, but for the last two columns, which are of one run.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|---{'|---:' * (len(HEAD) - 1)}|",
        *(f"| {' | '.join(row.cells())} |" for row in rows),
        "",
        f"Ours is {statistics.median(ratios):.1f} times faster in the median, {min(ratios):.1f} times in "
        f"`{min(rows, key=lambda row: row.ratio).name}`; slower in "
        f"{sum(ratio < 1 for ratio in ratios)} of {len(rows)}.",
    ]
    lines += [f"- {row.name}: {line}" for row in rows for line in row.wrong]
    return "\n".join(lines) + "\n"


def measured(names: Sequence[str], submissions: int, rounds: int) -> Iterator[Row]:
    """Yield the row of each notebook of these names as soon as it is there."""
    for number, name in enumerate(names):
        with tempfile.TemporaryDirectory() as folder:
            plain = timed_notebooks.load(name)
            yield measure(plain, submissions, rounds, Path(folder) / name, stock_first=number % 2 == 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Grade with both, print and write the table; exit with 1 where scores differ."""
    known = timed_notebooks.names()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default all")
    parser.add_argument("--submissions", type=int, default=20, help="of each notebook")
    parser.add_argument(
        "--rounds", type=int, default=1, help="of both graders, taking turns at the beginning"
    )
    parser.add_argument(
        "--profile", action="store_true", help="then say where the slowest one spends its time"
    )
    parser.add_argument(
        "--to", type=Path, help=f"where the page goes; default, for all of them: {RESULTS.name}"
    )
    options = parser.parse_args(arguments)
    names = options.names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no notebook {', '.join(unknown)}; there are {', '.join(known)}")
    to = options.to or (None if options.names else RESULTS)
    console, load, rows = Console(width=None if sys.stdout.isatty() else 140), os.getloadavg()[0], []
    for row in measured(names, options.submissions, options.rounds):
        rows.append(row)
        told = ", ".join(f"{head} {cell}" for head, cell in zip(HEAD[1:], row.cells()[1:], strict=True))
        console.print(f"[bold]{escape(row.name)}[/]: {told}", highlight=False)
        for line in row.wrong:
            console.print(f"  {line}", markup=False, highlight=False)
    page = report(rows, options.submissions, options.rounds, load)
    console.print(page.rpartition("|\n")[2].strip(), markup=False, highlight=False)
    if to:
        to.write_text(page, encoding="utf-8")
    if options.profile:
        slowest = min(rows, key=lambda row: row.ratio)
        with tempfile.TemporaryDirectory() as folder:
            root, plain = Path(folder) / "course", timed_notebooks.load(slowest.name)
            build_course(root, options.submissions, plain, kinds_of(plain))
            for line in profiles.profile(OURS, root):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    sys.exit(any(row.wrong for row in rows))


if __name__ == "__main__":
    main()
