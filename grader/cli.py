"""The command line: `grader doctor | start | check | solution | examine | release | collect | grade | ...`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from grader.course import Course, CourseError, Part

# Heavy modules (torch, nbgrader) are imported by the command that needs them, so that `--help` is instant.

app = typer.Typer(
    name="grader",
    help="Check, grade and return assignments. Student code runs in a sandbox; verdicts are taken outside it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()

STUDENTS, INSTRUCTORS, BOTH = "Students and self-learners", "Instructors", "Everybody"

CourseOption = Annotated[
    Path | None, typer.Option("--course", help="The course root; found from here upwards when not given.")
]
IsolationOption = Annotated[
    str, typer.Option(help="namespaces (sandbox), plain (none: your own code only), or auto.")
]
AssignmentArgument = Annotated[str, typer.Argument(metavar="HW", help="Such as hw1_distributed.")]


def main() -> None:
    """Run the command line; what is wrong with the user's input becomes one sentence and exit code 2."""
    from grader.sandbox import SandboxError

    try:
        app()
    except (CourseError, SandboxError, NotADirectoryError, FileExistsError) as error:
        Console(stderr=True).print(f"[red]grader:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command(rich_help_panel=BOTH)
def doctor() -> None:
    """Say what this machine can isolate and measure, and what follows from it."""
    from grader.doctor import examine_machine

    with console.status("Trying out this machine ..."):
        findings = examine_machine()
    table = Table("", "found", "what was seen", "what follows", title="This machine")
    colours = {"yes": "green", "no": "red", "note": "dim"}
    for finding in findings:
        table.add_row(
            finding.name, f"[{colours[finding.state]}]{finding.state}[/]", finding.seen, finding.follows
        )
    console.print(table)


@app.command(rich_help_panel=STUDENTS)
def start(
    assignment: AssignmentArgument,
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="New folder; default ./HW.")] = None,
    course: CourseOption = None,
) -> None:
    """Make your own copy of an assignment to work in."""
    from grader import workspace

    directory = directory or Path(assignment)
    workspace.start(_course(course).assignment(assignment), directory)
    console.print(f"Your copy is in [bold]{directory}[/]. Open its README.md, edit the modules, then:")
    console.print(f"  cd {directory} && grader check", highlight=False)


@app.command(rich_help_panel=STUDENTS)
def check(
    part: Annotated[int | None, typer.Argument(help="Which part; all when not given.")] = None,
    item: Annotated[str | None, typer.Option(help="Only the checks of this item.")] = None,
    directory: Annotated[Path, typer.Option("--in", help="Your copy of the assignment.")] = Path(),
    isolation: IsolationOption = "auto",
) -> None:
    """Run the public checks on your copy: the very checks that grade you, less the hidden ones."""
    from grader import render, workspace
    from grader.examiner import Examiner

    assignment = workspace.find(directory)
    parts = [assignment.part(part)] if part else list(assignment.parts.values())
    if item and not any(item in entry.items for entry in parts):
        there = ", ".join(name for entry in parts for name in entry.items)
        raise CourseError(f"{item} is not an item of {assignment.name}; items: {there}")
    passed = True
    with console.status("Starting the workers ..."):
        examiner = Examiner(isolation)
    with examiner:
        for entry in parts:
            report = _examine(examiner, entry, directory, hidden=False, items=[item] if item else None)
            console.print(render.table(report, f"{assignment.name}, part {entry.number}: {entry.title}"))
            for note in report.notes:
                console.print(f"note: {note}", style="dim", markup=False)
            console.print(render.summary(report, entry.items), highlight=False)
            passed = passed and all(result.verdict == "pass" for result in report.checks)
    raise typer.Exit(0 if passed else 1)


@app.command(rich_help_panel=STUDENTS)
def solution(
    item: Annotated[str, typer.Argument(help="The item or the file whose reference you want to read.")],
    directory: Annotated[Path, typer.Option("--in", help="Your copy of the assignment.")] = Path(),
) -> None:
    """Show the reference solution beside yours, once you have tried."""
    from grader import workspace

    console.print(workspace.solution(directory, item))


@app.command(rich_help_panel=INSTRUCTORS)
def examine(
    assignment: AssignmentArgument,
    path: Annotated[Path, typer.Argument(help="The folder of files to examine.")],
    part: Annotated[int, typer.Option(help="Which part of the assignment.")],
    json: Annotated[Path | None, typer.Option(help="Write the verdicts to this file.")] = None,
    hidden: Annotated[bool, typer.Option(help="Run the hidden checks too.")] = True,
    seed: Annotated[int | None, typer.Option(help="Repeat a run: the seed that its report names.")] = None,
    isolation: IsolationOption = "namespaces",
    course: CourseOption = None,
) -> None:
    """Give every check's verdict for one folder, without a gradebook."""
    from grader import render
    from grader.examiner import Examiner

    entry = _course(course).assignment(assignment).part(part)
    with Examiner(isolation) as examiner:
        report = _examine(examiner, entry, path, hidden=hidden, seed=seed)
    console.print(render.table(report, f"{assignment}, part {part}: {path}"))
    for note in report.notes:
        console.print(f"note: {note}", style="dim", markup=False)
    console.print(render.summary(report), f"Seed {report.seed}.", highlight=False)
    if json:
        json.write_text(report.to_json() + "\n", encoding="utf-8")


def _course(root: Path | None) -> Course:
    return Course.load(root) if root else Course.find()


def _examine(examiner, part: Part, folder: Path, **options):
    from grader.examiner import checks_of

    wanted = checks_of(part, hidden=options["hidden"])
    if options.get("items"):
        wanted = [check for check in wanted if check.item in options["items"]]
    with _progress(f"{part.assignment}, part {part.number}", len(wanted)) as advance:
        return examiner.examine(part, folder, on_check=lambda result: advance(result.name), **options)


@contextmanager
def _progress(title: str, total: int) -> Iterator:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda name: progress.update(task, advance=1, description=f"{title}: {name}")
