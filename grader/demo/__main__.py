"""Run a lab, hand in a class, grade it, and show what became of everybody.

`python -m grader.demo [--out demo-output] [--no-lab]`
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grader.book.results import Graded
from grader.course import Course, Part
from grader.notebooks.source import strip_solutions
from grader.notebooks.wrong import WrongSolution, wrong_solutions
from grader.pages.class_page import summary
from grader.steps import collect, feedback, release, roster
from grader.steps import grade as grading
from grader.steps import terminal as render

HOMEWORK, PART = "hw1_distributed", 2
ROSTER = Path(__file__).parent / "roster.csv"
REPOSITORY = Path(__file__).resolve().parents[2]
console = Console(record=True, width=None if sys.stdout.isatty() else 110)


def main(
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo-output"),
    lab: Annotated[bool, typer.Option(help="Run week 1's seminar first.")] = True,
) -> None:
    """Show the course's main job on real input, in under three minutes."""
    started = time.perf_counter()
    out = out.resolve()
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    if lab:
        run_lab(out / "week01")
    course = make_course(out / "course")
    students = read_class()
    # Somebody who listens on this machine's own loopback: whoever reaches it has left the sandbox.
    with socket.create_server(("127.0.0.1", 0)) as home:
        home.settimeout(0.1)
        port = home.getsockname()[1]
        hand_in(course, students, out / "handed-in", port)
        collect.collect(course.root, HOMEWORK, out / "handed-in")
        roster.take(course.root, ROSTER)
        before = fingerprint(course.root / "submitted")
        results = grade_class(course)
        reached = connections(home)
    show(results, students, out)
    unharmed = before == fingerprint(course.root / "submitted")
    feedback.feedback(course.root, HOMEWORK)
    draw(results, out / "grades.png")
    wrong = [r.student for r in results if abs(r.score - students[r.student]["earns"]) > 1e-6]
    console.print(f"Points that honest work did not earn: {'none' if not wrong else ', '.join(wrong)}.")
    console.print(f"Submissions changed by others: {'none' if unharmed else 'some'}.", highlight=False)
    console.print(f"Connections that left a sandbox: {reached}.", highlight=False)
    console.print(f"\nFeedback pages: {out / 'course' / 'feedback'}", highlight=False, soft_wrap=True)
    console.print(
        f"Histogram: {out / 'grades.png'}    Table: {out / 'grades.svg'}", highlight=False, soft_wrap=True
    )
    page = summary(course.root, HOMEWORK)
    if lab:
        console.print(f"The lab's plots and log: {out / 'week01'}", highlight=False, soft_wrap=True)
    console.print(f"{time.perf_counter() - started:.0f} s in all.", highlight=False)
    console.print(
        f"\nThe class on one page, for your browser: {page.as_uri()}", highlight=False, soft_wrap=True
    )
    if wrong or not unharmed or reached:
        raise typer.Exit(1)


def run_lab(out: Path) -> None:
    """Run week 1's seminar as a script; its claims are in the log, its figures beside it."""
    console.rule("Week 1: the seminar")
    source = str(Path("week01_intro") / "seminar.md")
    command = [sys.executable, "-m", "effdl.run", source, "--out", str(out)]
    with console.status("Running every cell of the lab ..."):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        console.print(done.stdout[-3000:], done.stderr[-3000:], markup=False, highlight=False)
        raise typer.Exit(done.returncode)
    figures = len(list(out.glob("*.png")))
    console.print(
        f"{figures} figures and the log of every claim are in {out}", highlight=False, soft_wrap=True
    )


def make_course(root: Path) -> Course:
    """Copy the course root, so that the demo touches no gradebook of yours, and release the homework."""
    console.rule(f"A class hands in {HOMEWORK}, part {PART}")
    theirs = REPOSITORY / "assignments"
    root.mkdir(parents=True)
    shutil.copy(theirs / "nbgrader_config.py", root / "nbgrader_config.py")
    # One part shows it all; the others would take the demo over its three minutes.
    tables = re.split(r"^(?=\[)", (theirs / "course.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    others = re.compile(rf"\[assignments\.(?!{HOMEWORK}\b)|\[assignments\.{HOMEWORK}\.parts\.(?!{PART}\b)")
    (root / "course.toml").write_text("".join(t for t in tables if not others.match(t)), encoding="utf-8")
    part = Course.load(theirs).assignment(HOMEWORK).part(PART)
    kept = [f"{part.notebook}.md", *part.files, f"checks/part{PART}_*.py"]
    for path in (path for pattern in kept for path in part.source.glob(pattern)):
        copy = root / "source" / HOMEWORK / path.relative_to(part.source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    with console.status("Releasing the homework ..."):
        release.release(root, HOMEWORK)
    return Course.load(root)


def read_class() -> dict[str, dict[str, Any]]:
    """Return what each student did, by name."""
    return tomllib.loads((Path(__file__).parent / "class.toml").read_text(encoding="utf-8"))


def hand_in(course: Course, students: dict[str, dict[str, Any]], out: Path, port: int) -> None:
    """Write a folder per student: the released notebook, and modules as the student left them."""
    part = course.assignment(HOMEWORK).part(PART)
    released = course.root / "release" / HOMEWORK / f"{part.notebook}.ipynb"
    for name, student in students.items():
        folder = out / name
        folder.mkdir(parents=True)
        for file, text in modules(part, student, port).items():
            (folder / file).write_text(text, encoding="utf-8")
        notebook = json.loads(released.read_text(encoding="utf-8"))
        if student.get("tampered"):
            tamper(notebook)
        (folder / released.name).write_text(json.dumps(notebook), encoding="utf-8")


def modules(part: Part, student: dict[str, Any], port: int = 0) -> dict[str, str]:
    """Return the text of every module that the student hands in."""
    texts = {name: (part.source / name).read_text(encoding="utf-8") for name in part.files}
    if student.get("stubs"):
        texts = {name: strip_solutions(text, name) for name, text in texts.items()}
    for name in student.get("wrong", ()):
        wrong = known_wrong()[name]
        texts[wrong.file] = wrong.text
    for name, before in student.get("before", {}).items():
        texts[name] = before.replace("{port}", str(port)) + "\n" + texts[name]
    # Marked as the course's own they would be refused when they are collected.
    return {name: re.sub(r" *### (BEGIN|END) SOLUTION\n", "", text) for name, text in texts.items()}


@functools.cache
def known_wrong() -> dict[str, WrongSolution]:
    """Return the wrong solutions of the homework by name."""
    folder = REPOSITORY / "assignments" / "source" / HOMEWORK / "wrong"
    return {wrong.name: wrong for wrong in wrong_solutions(folder)}


def tamper(notebook: dict[str, Any]) -> None:
    """Do to a notebook what gives full marks where a notebook's word is taken for it."""
    full = {
        "output_type": "execute_result",
        "data": {"text/plain": "100.0"},
        "metadata": {},
        "execution_count": 1,
    }
    for cell in notebook["cells"]:
        cell["id"] = "same"
        role = cell["metadata"].get("nbgrader")
        if role and role.get("grade"):
            role.update(points=100, locked=False)
            cell["metadata"]["tags"] = ["skip-execution", "raises-exception"]
            if cell["cell_type"] == "code":
                cell.update(source="100.0", outputs=[full])
    notebook["cells"] += [cell for cell in notebook["cells"] if cell["metadata"].get("nbgrader")]


def grade_class(course: Course) -> list[Graded]:
    """Grade everybody, showing who is done."""
    from grader.steps.command import progress

    with progress(f"Grading {HOMEWORK}") as advance:
        return grading.grade(
            course.root,
            HOMEWORK,
            progress=lambda result, done, total: advance(result.student, total),
        )


def connections(server: socket.socket) -> int:
    """Return how many clients wait at the server."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except TimeoutError:
            return count
        count += 1


def fingerprint(folder: Path) -> str:
    """Return a hash of every file under the folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def show(results: list[Graded], students: dict[str, dict[str, Any]], out: Path) -> None:
    """Print the class, one line per student, and keep the table as a picture."""
    table = Table(title=f"{HOMEWORK}, part {PART}", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("student", no_wrap=True)
    table.add_column("what they did", ratio=3)
    table.add_column("honest", justify="right", no_wrap=True)
    table.add_column("given", justify="right", no_wrap=True)
    table.add_column("what happened", ratio=4)
    for result in results:
        student = students[result.student]
        fair = abs(result.score - student["earns"]) < 1e-6
        given = f"[{'green' if fair else 'red'}]{render.number(result.score)}[/]"
        table.add_row(
            result.student, student["did"], render.number(student["earns"]), given, escape(result.summary())
        )
    picture = Console(record=True, width=130, file=open("/dev/null", "w"))  # noqa: SIM115
    picture.print(table)
    svg = picture.export_svg(title="grader grade")
    # Without the web fonts that rich names, a picture fetches nothing.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    (out / "grades.svg").write_text(svg, encoding="utf-8")
    console.print(table)


def draw(results: list[Graded], path: Path) -> None:
    """Save the histogram of points."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    import effdl.plots  # noqa: F401  (the house style)

    figure, axes = plt.subplots(figsize=(6, 3))
    axes.hist([result.score for result in results], bins=[x - 0.25 for x in (i / 2 for i in range(22))])
    axes.set(xlabel="points (reports still to be read)", ylabel="students", title=f"{HOMEWORK}, part {PART}")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
