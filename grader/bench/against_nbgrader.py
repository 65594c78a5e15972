"""This grader against stock `nbgrader autograde`: the same plain course, the same submissions, one run.

    python -m grader.bench.against_nbgrader [--students 200] [--stock-students 20] [--jobs 1]

The course is one notebook that imports torch, with three solution cells and six test cells (two of them with
partial credit or hidden tests). The submissions are honest: right, partly right, wrong and empty ones. Both
graders start from a fresh process and an identical gradebook; the scores must agree. The floor is what remains where
a grader costs nothing: a sandboxed worker, the cells in it, a write to the gradebook, each measured alone.
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
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from grader.book.nbgrader_course import NbCourse
from grader.lean import nbformat
from grader.notebooks import PROGRAMS

ASSIGNMENT = "ps1"
NOTEBOOK = "problem1"

_SOLUTIONS = {
    "softmax": (
        "def softmax(x):",
        "    shifted = x - x.max(-1, keepdim=True).values\n"
        "    return shifted.exp() / shifted.exp().sum(-1, keepdim=True)",
        "    return x.exp() / x.exp().sum(-1, keepdim=True)",  # overflows for large inputs
        "    return x / x.sum()",
    ),
    "moving_average": (
        "def moving_average(x, k):",
        "    return x.unfold(0, k, 1).mean(-1)",
        "    return torch.stack([x[i : i + k].mean() for i in range(len(x) - k)])",  # one element short
        "    return x",
    ),
    "count_parameters": (
        "def count_parameters(model):",
        "    return sum(p.numel() for p in model.parameters())",
        "    return sum(p.numel() for p in model.parameters() if p.dim() > 1)",  # forgets the biases
        "    raise ValueError('no idea')",
    ),
}
_TESTS = {
    "test_softmax_sums": "assert torch.allclose(softmax(torch.ones(2, 4)), torch.full((2, 4), 0.25))",
    "test_softmax_large": (
        "assert softmax(torch.zeros(3)).sum() == 1\n"
        "### BEGIN HIDDEN TESTS\n"
        "assert torch.isfinite(softmax(torch.tensor([1000.0, 0.0]))).all()\n"
        "### END HIDDEN TESTS"
    ),
    "test_average_values": "assert moving_average(torch.arange(4.0), 2)[:2].tolist() == [0.5, 1.5]",
    "test_average_length": "assert len(moving_average(torch.arange(10.0), 3)) == 8",
    "test_count_weights": (
        "assert count_parameters(torch.nn.Linear(3, 4, bias=False)) == 12\nprint('weights counted')"
    ),
    # The value of the last line is the number of points: nbgrader's partial credit.
    "test_count_biases": (
        "points = 0.5\n"
        "found = count_parameters(torch.nn.Linear(3, 4))\n"
        "points if found == 12 else 2 * (found == 16)"
    ),
}
_ORDER = ("softmax", "test_softmax_sums", "test_softmax_large")
_ORDER += ("moving_average", "test_average_values", "test_average_length")
_ORDER += ("count_parameters", "test_count_weights", "test_count_biases")
VARIANTS = ("right", "partly", "wrong", "empty", "helper")


def _graded(name: str, source: str, *, points: float | None) -> nbformat.NotebookNode:
    metadata = {
        "schema_version": 3,
        "grade": points is not None,
        "solution": points is None,
        "locked": points is not None,
        "task": False,
        "grade_id": name,
    }
    if points is not None:
        metadata["points"] = points
    return nbformat.v4.new_code_cell(source, id=name.replace("_", "-"), metadata={"nbgrader": metadata})


def _source_notebook() -> nbformat.NotebookNode:
    cells = [
        nbformat.v4.new_markdown_cell("# Problem 1", id="title"),
        nbformat.v4.new_code_cell("import torch", id="imports"),
    ]
    for name in _ORDER:
        if name in _SOLUTIONS:
            head, right, *_ = _SOLUTIONS[name]
            body = f"{head}\n    ### BEGIN SOLUTION\n{right}\n    ### END SOLUTION"
            cells.append(_graded(name, body, points=None))
        else:
            cells.append(_graded(name, _TESTS[name], points=2.0 if name == "test_count_biases" else 1.0))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _nbgrader(root: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "nbgrader", *arguments]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"nbgrader {' '.join(arguments)} failed:\n{done.stderr[-4000:]}")


def build_course(root: Path, students: int) -> None:
    """Write an nbgrader course to `root`, release its assignment with nbgrader, and submit for `students`."""
    (root / "source" / ASSIGNMENT).mkdir(parents=True)
    (root / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'bench'\n")
    nbformat.write(_source_notebook(), root / "source" / ASSIGNMENT / f"{NOTEBOOK}.ipynb")
    _nbgrader(root, "generate_assignment", ASSIGNMENT)
    for index in range(students):
        submit(root, f"student{index:03d}", VARIANTS[index % len(VARIANTS)])


def submit(root: Path, student: str, variant: str) -> Path:
    """Hand in one honest notebook, `variant` one of VARIANTS; return its path."""
    notebook = nbformat.read(root / "release" / ASSIGNMENT / f"{NOTEBOOK}.ipynb", as_version=4)
    column = {"right": 1, "partly": 2, "wrong": 3, "helper": 1}.get(variant)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in _SOLUTIONS and column:
            cell.source = "\n".join((_SOLUTIONS[name][0], _SOLUTIONS[name][column]))
    if variant == "helper":
        # An ungraded cell of the student's own, which a solution cell needs.
        notebook.cells.insert(
            2, nbformat.v4.new_code_cell("def largest(x):\n    return x.max(-1, True).values")
        )
        solution = next(c for c in notebook.cells if c.source.startswith("def softmax"))
        solution.source = solution.source.replace("x.max(-1, keepdim=True).values", "largest(x)")
    folder = root / "submitted" / student / ASSIGNMENT
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{NOTEBOOK}.ipynb")
    return folder / f"{NOTEBOOK}.ipynb"


def scores(root: Path) -> dict[str, dict[str, float | None]]:
    """Return the automatic score of every test cell of every student, from the gradebook of `root`."""
    gradebook = NbCourse.open(root).gradebook()
    try:
        return {
            notebook.student.id: {grade.cell.name: grade.auto_score for grade in notebook.grades}
            for notebook in gradebook.notebook_submissions(NOTEBOOK, ASSIGNMENT)
        }
    finally:
        gradebook.close()


def _timed(command: list[str], root: Path) -> float:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = time.perf_counter()
    done = subprocess.run(command, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-4000:]}")
    return seconds


@dataclass(frozen=True)
class Floor:
    """What no grader that isolates can do without, in seconds per submission, medians of this machine."""

    fork: float  # one sandboxed worker that has imported torch, started and ended
    cells: float  # the notebook's own cells in it
    write: float  # one submission's rows in a transaction of its own


def floor(root: Path, repeats: int = 15) -> Floor:
    """Measure the floor on the course at `root`, which has been graded; its rows change for nobody."""
    from grader.book.ledger import Entry, Ledger
    from grader.examine.examiner import Examiner
    from grader.notebooks.run import no_files, run_shared

    cells = [cell for cell in _source_notebook().cells if cell.cell_type == "code"]
    orders = [{"source": cell.source, "cell_id": cell.id} for cell in cells]
    nothing = [{"source": "pass", "cell_id": "nothing"}]
    course = NbCourse.open(root)
    gradebook = course.gradebook()
    forks, own, writes = [], [], []
    try:
        ledger = Ledger(gradebook, ASSIGNMENT, course.config)
        entry = Entry("student000", ledger.held()["student000"].run, None)
        with Examiner("namespaces", programs=PROGRAMS) as examiner:
            run_shared(examiner.place, orders, no_files(), 30)
            for _ in range(repeats):
                started = time.perf_counter()
                run_shared(examiner.place, nothing, no_files(), 30)
                forks.append(time.perf_counter() - started)
                own.append(sum(run_shared(examiner.place, orders, no_files(), 30).seconds))
                started = time.perf_counter()
                ledger.write([entry])
                writes.append(time.perf_counter() - started)
    finally:
        gradebook.close()
    return Floor(*(statistics.median(values) for values in (forks, own, writes)))


def main() -> None:
    """Build the course twice, grade it with each, compare scores and wall times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=20)
    parser.add_argument(
        "--stock-students", type=int, help="grade only that many with nbgrader (default: all)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="of ours; nbgrader knows one at a time")
    options = parser.parse_args()
    students, stock = options.students, min(options.stock_students or options.students, options.students)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours", Path(folder) / "theirs"
        build_course(ours, students)
        shutil.copytree(ours, theirs)
        for late in sorted((theirs / "submitted").iterdir())[stock:]:
            shutil.rmtree(late)
        grade = [sys.executable, "-m", "grader", "grade", ASSIGNMENT, "--jobs", str(options.jobs)]
        fast = _timed([*grade, "--course", str(ours)], ours)
        again = _timed([*grade, "--course", str(ours)], ours)
        slow = _timed([sys.executable, "-m", "nbgrader", "autograde", ASSIGNMENT], theirs)
        found, expected = scores(ours), scores(theirs)
        least = floor(ours)
    differing = [name for name in expected if found.get(name) != expected[name]]
    table = Table(
        title=f"{students} submissions, start included, {options.jobs} at a time", title_justify="left"
    )
    table.add_column("")
    table.add_column("wall time (s)", justify="right")
    table.add_column("per submission (s)", justify="right")
    name = "nbgrader autograde" + (f", {stock} of them" if stock < students else "")
    table.add_row(name, f"{slow:.1f}", f"{slow / stock:.3f}")
    table.add_row("grader grade", f"{fast:.1f}", f"{fast / students:.3f}")
    table.add_row(
        "grader grade again, nothing changed", f"{again:.1f}", f"{again / students:.3f}", end_section=True
    )
    table.add_row("floor: one fork into a sandbox", "", f"{least.fork:.3f}")
    table.add_row("floor: the notebook's own cells", "", f"{least.cells:.3f}")
    table.add_row("floor: its rows in the gradebook", "", f"{least.write:.3f}")
    least = least.fork + least.cells + least.write
    table.add_row("floor", "", f"{least:.3f}")
    console = Console()
    console.print(table)
    ratio = (slow / stock) / (fast / students)
    if stock < students:
        console.print(
            f"nbgrader's time is linear in the class: {slow / stock:.2f} s each was measured on {stock}."
        )
    console.print(
        f"nbgrader takes {ratio:.1f} times as long; the floor is {fast / students / least:.1f} times faster than us; "
        f"different scores: {len(differing)} of {len(expected)}",
        highlight=False,
    )
    if differing or not expected.keys() <= found.keys() or len(found) != students:
        sys.exit(f"scores differ for {', '.join(differing) or 'students that one grader lacks'}")


if __name__ == "__main__":
    main()
