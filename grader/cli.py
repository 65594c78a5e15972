"""The command line: `grader doctor | start | check | solution | examine | release | collect | grade | ...`."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
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


def _known_isolation(value: str) -> str:
    if value not in (known := ("auto", "namespaces", "plain")):
        raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}")
    return value


def _in_a_folder(path: Path | None) -> Path | None:
    # Found before the work, not after it.
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{path}: its folder does not exist; make it, or name another file")
    return path


CourseOption = Annotated[
    Path | None, typer.Option("--course", help="The course root; found from here upwards when not given.")
]
IsolationOption = Annotated[
    str,
    typer.Option(
        help="namespaces (sandbox), plain (none: your own code only), or auto.", callback=_known_isolation
    ),
]
AssignmentArgument = Annotated[str, typer.Argument(metavar="HW", help="Such as hw1_distributed.")]


def main() -> None:
    """Run the command line; what is wrong with the user's input becomes one sentence and exit code 2."""
    from grader.sandbox.build import SandboxError

    try:
        app()
    except (CourseError, SandboxError, NotADirectoryError, FileExistsError) as error:
        Console(stderr=True).print(f"[red]grader:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command(rich_help_panel=BOTH)
def doctor() -> None:
    """Say what this machine can isolate and measure, and what follows from it."""
    from grader.steps.doctor import examine_machine

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
    from grader.steps import workspace

    directory = directory or Path(assignment)
    with console.status("Making your copy ..."):
        copy = workspace.start(_course(course), assignment, directory)
    for part in copy.parts.values():
        console.print(
            f"Part {part.number}, {part.title}: read {directory / part.notebook}.ipynb", highlight=False
        )
        console.print(f"  and edit {', '.join(part.files)}.", highlight=False)
    console.print(f"Then: cd {directory} && grader check", highlight=False)


@app.command(rich_help_panel=STUDENTS)
def check(
    part: Annotated[int | None, typer.Argument(help="Which part; all when not given.")] = None,
    item: Annotated[str | None, typer.Option(help="Only the checks of this item.")] = None,
    directory: Annotated[Path, typer.Option("--in", help="Your copy of the assignment.")] = Path(),
    hint: Annotated[bool, typer.Option("--hint", help="Give a hint where a check fails.")] = False,
    output: Annotated[
        bool, typer.Option("--output", help="Show what your code prints, also where it passes.")
    ] = False,
    isolation: IsolationOption = "auto",
) -> None:
    """Run the public checks on your copy: the very checks that grade you, less the hidden ones."""
    from grader.examine.examiner import Examiner
    from grader.steps import terminal as render
    from grader.steps import workspace

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
            items = [item] if item else None
            report = _examine(examiner, entry, directory, hidden=False, items=items, output=output)
            title = f"{assignment.name}, part {entry.number}: {entry.title}"
            console.print(render.table(report, title, hints=hint))
            for note in report.notes:
                console.print(f"note: {note}", style="dim", markup=False)
            console.print(
                render.summary(report, dict.fromkeys(r.item for r in report.checks)), highlight=False
            )
            if more := render.further(report, hints=hint):
                console.print(more, highlight=False, markup=False)
            passed = passed and all(result.verdict == "pass" for result in report.checks)
    raise typer.Exit(0 if passed else 1)


@app.command(rich_help_panel=STUDENTS)
def solution(
    item: Annotated[str, typer.Argument(help="The item or the file whose reference you want to read.")],
    directory: Annotated[Path, typer.Option("--in", help="Your copy of the assignment.")] = Path(),
) -> None:
    """Show the reference solution beside yours, once you have tried."""
    from grader.steps import workspace

    console.print(workspace.solution(directory, item, wide=console.width >= 160))


@app.command(rich_help_panel=INSTRUCTORS)
def examine(
    assignment: AssignmentArgument,
    path: Annotated[Path, typer.Argument(help="The folder of files to examine.")],
    part: Annotated[int, typer.Option(help="Which part of the assignment.")],
    json: Annotated[
        Path | None, typer.Option(help="Write the verdicts to this file.", callback=_in_a_folder)
    ] = None,
    hidden: Annotated[bool, typer.Option(help="Run the hidden checks too.")] = True,
    seed: Annotated[int | None, typer.Option(help="Repeat a run: the seed that its report names.")] = None,
    isolation: IsolationOption = "namespaces",
    course: CourseOption = None,
) -> None:
    """Give every check's verdict for one folder, without a gradebook."""
    from grader.examine.examiner import Examiner
    from grader.steps import terminal as render

    entry = _course(course).assignment(assignment).part(part)
    with Examiner(isolation) as examiner:
        report = _examine(examiner, entry, path, hidden=hidden, seed=seed)
    console.print(render.table(report, f"{assignment}, part {part}: {path}", for_instructor=True, hints=True))
    for note in report.notes:
        console.print(f"note: {note}", style="dim", markup=False)
    console.print(render.summary(report), f"Seed {report.seed}.", highlight=False)
    if json:
        json.write_text(report.to_json() + "\n", encoding="utf-8")


@app.command(rich_help_panel=INSTRUCTORS)
def release(
    assignments: Annotated[list[str] | None, typer.Argument(metavar="[HW]...")] = None,
    to: Annotated[Path | None, typer.Option(help="Also write the repository that students clone.")] = None,
    course: CourseOption = None,
) -> None:
    """Make the students' version of assignments: no solutions, no hidden checks."""
    from grader.steps import release as releases

    if not assignments and to is None:
        raise CourseError("nothing to release: name an assignment, or a folder with --to")
    root = _root(course)
    for name in assignments or []:
        with console.status(f"Releasing {name} ..."):
            folder = releases.release(root, name)
        console.print(f"{name}: released to {folder}", highlight=False)
    if to is not None:
        with console.status("Writing the repository ..."):
            released = releases.release_repository(root, to)
        console.print(f"{to}: the repository for students, with {', '.join(released)}", highlight=False)


@app.command(rich_help_panel=INSTRUCTORS)
def collect(
    assignment: AssignmentArgument,
    source: Annotated[Path, typer.Argument(help="A folder or zip of submissions, or a CSV of student,url.")],
    names: Annotated[
        str | None, typer.Option(help="Regular expression for names, with (?P<student>...).")
    ] = None,
    deadline: Annotated[datetime | None, typer.Option(help="For git; UTC. Default: course.toml's.")] = None,
    course: CourseOption = None,
) -> None:
    """Take what students handed in: folders, zip files, or git repositories at a deadline."""
    from grader.steps import collect as collecting

    root = _root(course)
    with progress(f"Collecting {assignment}") as advance:
        watch = lambda result, done, total: advance(result.student, total)  # noqa: E731
        if source.suffix == ".csv":
            results = collecting.collect_git(root, assignment, source, deadline=deadline, progress=watch)
        else:
            options = {"names": names} if names else {}
            results = collecting.collect(root, assignment, source, progress=watch, **options)
    table = Table("student", "files", "when (UTC)", "notes", title=f"Collected for {assignment}")
    for result in results:
        when = result.timestamp.strftime("%Y-%m-%d %H:%M") if result.timestamp else ""
        notes = [f"not taken: {result.refused}"] if result.refused else result.notes
        table.add_row(escape(result.student), str(result.files), when, escape("; ".join(notes)))
    console.print(table)
    if any(result.refused for result in results):
        raise typer.Exit(1)


@app.command(rich_help_panel=INSTRUCTORS)
def grade(
    assignment: AssignmentArgument,
    student: Annotated[list[str] | None, typer.Option(help="Only this student; may be repeated.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Submissions at once; default one per core for root, else 1.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Run again what has not changed.")] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="STUDENT", help="Only say what would run for this student, and why.")
    ] = None,
    isolation: IsolationOption = "namespaces",
    course: CourseOption = None,
) -> None:
    """Grade collected submissions into the gradebook, each in sandboxes of its own."""
    from grader.pages import class_page as summaries
    from grader.steps import grade as grading
    from grader.steps import terminal as render
    from grader.steps.progress import Board

    root = _root(course)
    if explain is not None:
        for line in grading.explain(root, assignment, explain, isolation):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    started = time.perf_counter()
    # The plots of the last page take a second to import; the workers take longer to start.
    threading.Thread(target=importlib.import_module, args=("matplotlib.pyplot",), daemon=True).start()
    with Board(f"Grading {assignment}", console) as board:
        results = grading.grade(
            root,
            assignment,
            students=student,
            jobs=jobs,
            isolation=isolation,
            force=force,
            progress=board.done,
            begins=board.begins,
        )
    console.print(render.grades(results, f"{assignment}: {len(results)} submissions"))
    seconds = time.perf_counter() - started
    again = sum(result.unchanged for result in results)
    console.print(f"{seconds:.1f} s, start included; {again} unchanged and not run again.", highlight=False)
    page = summaries.summary(root, assignment)
    console.print(f"The class on one page: {page}", highlight=False, soft_wrap=True)
    if any(result.error or result.for_a_person for result in results):
        raise typer.Exit(1)


@app.command(rich_help_panel=INSTRUCTORS)
def summary(
    assignment: AssignmentArgument,
    formgrader: Annotated[
        str, typer.Option(help="Where your formgrader is, for the links to submissions.")
    ] = "http://localhost:8888/formgrader",
    course: CourseOption = None,
) -> None:
    """Write one page on the graded class: scores, checks, time, what waits for a person, notes with evidence."""
    from grader.pages import class_page as summaries

    path = summaries.summary(_root(course), assignment, formgrader=formgrader)
    console.print(str(path), highlight=False, soft_wrap=True)


@app.command(rich_help_panel=INSTRUCTORS)
def feedback(
    assignment: AssignmentArgument,
    student: Annotated[list[str] | None, typer.Option(help="Only this student; may be repeated.")] = None,
    course: CourseOption = None,
) -> None:
    """Write the pages that students get back: their notebooks with verdicts, scores and comments."""
    from grader.steps import feedback as feedbacks

    root = _root(course)
    with progress(f"Feedback on {assignment}") as advance:
        pages = feedbacks.feedback(
            root,
            assignment,
            students=student or None,
            progress=lambda name, done, total: advance(name, total),
        )
    console.print(f"{sum(map(len, pages.values()))} pages in {root / 'feedback'}", highlight=False)


@app.command(rich_help_panel=INSTRUCTORS)
def export(
    to: Annotated[Path, typer.Option(help="The CSV file to write.", callback=_in_a_folder)] = Path(
        "grades.csv"
    ),
    course: CourseOption = None,
) -> None:
    """Write all scores, and the final grade by the weights and thresholds of course.toml, as CSV."""
    from grader.steps import export as exporting

    for path in exporting.export(_root(course), to):
        console.print(str(path), highlight=False)


def _root(course: Path | None) -> Path:
    """Return the course root; with --course it may be any nbgrader course, without a course.toml."""
    return course.resolve() if course else Course.find().root


def _course(root: Path | None) -> Course:
    return Course.load(root) if root else Course.find()


def _examine(examiner, part: Part, folder: Path, **options):
    from grader.examine.examiner import checks_of

    wanted = checks_of(part, hidden=options["hidden"])
    if options.get("items"):
        wanted = [check for check in wanted if check.item in options["items"]]
    with progress(f"{part.assignment}, part {part.number}") as advance:
        watch = lambda result: advance(result.name, len(wanted))  # noqa: E731
        return examiner.examine(part, folder, on_check=watch, **options)


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, int], None]]:
    """Show a bar; what it yields is called with the name of each thing done and how many there are."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda name, total: bar.update(
            task, advance=1, total=total, description=f"{title}: {escape(name)}"
        )
