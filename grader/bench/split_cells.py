"""Plain notebooks with their tests apart from the student's code, beside one shared interpreter, in one run.

    python -m grader.bench.split_cells [--rounds 5] [--only NAME ...]

Every notebook of `grader/bench/plain_notebooks` and of the course that `nbgrader quickstart` writes is planned
as a release does it, and then run both ways, alternating, as the instructor solved it, empty, and with wrong
answers. Verdicts must agree; the time is that of a whole submission, from the request to the last process gone.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from grader.bench import plain_notebooks
from grader.bench.plain_notebooks import Plain
from grader.book.nbgrader_course import find_alembic
from grader.examine.examiner import Examiner
from grader.lean import nbformat
from grader.notebooks import PROGRAMS
from grader.notebooks.decide import course_files, decide
from grader.notebooks.outcomes import verdicts_of
from grader.notebooks.plan import Plan, runs, steps_of
from grader.notebooks.rebuild import rebuild
from grader.notebooks.run import Executed, run_shared, run_split
from grader.sandbox.packed import Packed


@dataclass
class Case:
    """One notebook, its course files, and what was found."""

    plain: Plain
    files: Packed
    plan: Plan | None = None
    submissions: int = 0
    differing: list[str] = field(default_factory=list)  # SUBMISSION: CELL shared/split
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"shared": [], "split": []})
    in_tests: dict[str, list[float]] = field(default_factory=lambda: {"shared": [], "split": []})


def measure(case: Case, examiner: Examiner, rounds: int) -> None:
    """Plan the notebook and run its reference, its empty copy and its wrong answers both ways."""
    template = case.plain.template()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "submitted.ipynb"

        def rebuilt(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
            nbformat.write(notebook, path)
            return rebuild(template, path)[0]

        reference = rebuilt(case.plain.source)
        case.plan = decide(template, reference, examiner.place, case.files, 30.0)
        wrong = {
            f"wrong {name}": case.plain.answered({name: text}) for name, text in case.plain.wrong.items()
        }
        others = {"empty": case.plain.empty(), **wrong}
        notebooks = {"reference": reference, **{name: rebuilt(other) for name, other in others.items()}}
    for name, notebook in notebooks.items():
        case.submissions += 1
        for _ in range(rounds if name == "reference" else 1):
            found = {}
            for how in ("shared", "split"):
                started = time.perf_counter()
                ran = _run(case, notebook, examiner, how)
                elapsed = time.perf_counter() - started
                found[how] = verdicts_of(list(filter(runs, notebook.cells)), ran)
                if name == "reference":
                    case.seconds[how].append(elapsed)
                    case.in_tests[how] += [found[how][test][1] for test in case.plan.tests]
        for test in case.plan.tests:
            one, two = found["shared"][test][0], found["split"][test][0]
            if one != two:
                case.differing.append(f"{case.plain.name}, {name}: {test} {one}/{two}")


def _run(case: Case, notebook: nbformat.NotebookNode, examiner: Examiner, how: str) -> Executed:
    if how == "split" and case.plan.is_split:
        steps = steps_of(case.plan, notebook)
        return run_split(examiner.place, steps, case.plan, case.files, case.files, 30.0)
    cells = [{"source": cell.source, "cell_id": cell.id} for cell in filter(runs, notebook.cells)]
    return run_shared(examiner.place, cells, case.files, 30.0)


def quickstart() -> Iterator[Case]:
    """Yield the notebooks of nbgrader's documentation course, which its package holds."""
    find_alembic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nbgrader", "quickstart", "course"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"nbgrader quickstart failed:\n{done.stderr[-2000:]}")
        for path in sorted(Path(folder, "course", "source").glob("*/*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            for index, cell in enumerate(notebook.cells):
                cell.id = f"cell-{index}"
            yield Case(Plain(f"nbgrader: {path.stem}", notebook), course_files(path.parent, []))


def table_of(cases: list[Case]) -> Table:
    """Return the results, a notebook a row."""
    table = Table(title="A plain notebook's tests, apart from the student's code and beside it")
    table.add_column("notebook", no_wrap=True)
    for column in ("tests", "isolated", "copy-back", "shared", "runs", "differ"):
        table.add_column(column, justify="right")
    for column in ("shared (ms)", "split (ms)", "more per test (ms)"):
        table.add_column(column, justify="right")
    for case in cases:
        where = [test.where for test in case.plan.tests.values()]
        shared, split = (1000 * statistics.median(case.seconds[how]) for how in ("shared", "split"))
        tests = (
            [1000 * statistics.fmean(case.in_tests[how]) for how in ("shared", "split")] if where else [0, 0]
        )
        table.add_row(
            *(
                case.plain.name,
                str(len(where)),
                *(str(where.count(w)) for w in ("isolated", "copy-back", "shared")),
            ),
            *(str(case.submissions), str(len(case.differing)), f"{shared:.0f}", f"{split:.0f}"),
            f"{tests[1] - tests[0]:.1f}",
        )
    return table


def main() -> None:
    """Measure and print; exit with 1 where a verdict differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each reference, both ways")
    parser.add_argument("--only", nargs="*", help="names of notebooks")
    options = parser.parse_args()
    cases = [
        Case(plain_notebooks.load(name), course_files(Path("none"), [])) for name in plain_notebooks.names()
    ]
    cases += quickstart()
    if options.only:
        cases = [case for case in cases if case.plain.name in options.only]
    with Examiner("namespaces", programs=PROGRAMS) as examiner:
        for case in track(cases, "Running notebooks", transient=True):
            measure(case, examiner, options.rounds)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table_of(cases))
    for case in cases:
        for cell in case.plan.cells:
            if cell.where in ("shared", "claimed"):
                console.print(
                    f"{case.plain.name}: {cell.id} {cell.where}: {cell.why}", highlight=False, markup=False
                )
    differing = [line for case in cases for line in case.differing]
    for line in differing:
        console.print(f"differs: {line}", highlight=False, markup=False)
    shared, split = (
        sum(statistics.median(case.seconds[how]) for case in cases) for how in ("shared", "split")
    )
    console.print(f"all references: {split / shared:.2f} times the time of a shared run", highlight=False)
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
