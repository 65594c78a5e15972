"""The command line: `grader doctor | start | check | pack | solution | new | examine | release | ...`."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grader.course import Assignment, CourseError
from grader.steps import for_class, for_students
from grader.steps.command import (
    BOTH,
    INSTRUCTORS,
    AssignmentArgument,
    CourseOption,
    IsolationOption,
    RunnerOption,
    console,
    course_of,
    examine_part,
    in_a_folder,
    progress,
    root_of,
)

if TYPE_CHECKING:
    from grader.book.results import Graded

# Heavy modules (torch, nbgrader) are imported by the command that needs them, so that `--help` is instant.

app = typer.Typer(
    name="grader",
    help="Check, grade and return assignments. Student code runs in a sandbox; verdicts are taken outside it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(for_students.app)
app.add_typer(for_class.app)


def main() -> None:
    """Run the command line; what is wrong with the user's input becomes one sentence and exit code 2."""
    from grader.sandbox.build import SandboxError

    try:
        app()
    except (CourseError, SandboxError, NotADirectoryError, FileExistsError) as error:
        Console(stderr=True).print(f"[red]grader:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command(rich_help_panel=BOTH)
def doctor(runner: RunnerOption = "local", course: CourseOption = None) -> None:
    """Say what this machine, or a node of the course's Slurm cluster, can isolate and measure, and what follows."""
    title = "This machine"
    if runner == "local":
        from grader.steps.doctor import examine_machine

        with console.status("Trying out this machine ..."):
            findings = examine_machine()
    else:
        from grader.steps.slurm_doctor import examine_node

        with console.status("Trying out a node ...") as status:
            tell = lambda text: status.update(f"Trying out a node: {text} ...")  # noqa: E731
            title, findings = examine_node(root_of(course), tell)
    table = Table("", "found", "what was seen", "what follows", title=title)
    colours = {"yes": "green", "no": "red", "note": "dim"}
    for finding in findings:
        table.add_row(
            finding.name, f"[{colours[finding.state]}]{finding.state}[/]", finding.seen, finding.follows
        )
    console.print(table)


@app.command(rich_help_panel=INSTRUCTORS)
def examine(
    assignment: AssignmentArgument,
    path: Annotated[Path, typer.Argument(help="The folder of files to examine.")],
    part: Annotated[int, typer.Option(help="Which part of the assignment.")],
    json: Annotated[
        Path | None, typer.Option(help="Write the verdicts to this file.", callback=in_a_folder)
    ] = None,
    hidden: Annotated[bool, typer.Option(help="Run the hidden checks too.")] = True,
    seed: Annotated[int | None, typer.Option(help="Repeat a run: the seed that its report names.")] = None,
    isolation: IsolationOption = "namespaces",
    course: CourseOption = None,
) -> None:
    """Give every check's verdict for one folder, without a gradebook."""
    from grader.examine.examiner import Examiner
    from grader.steps import terminal as render

    entry = course_of(course).assignment(assignment).part(part)
    with Examiner(isolation) as examiner:
        report = examine_part(examiner, entry, path, hidden=hidden, seed=seed)
    console.print(
        render.details(report, f"{assignment}, part {part}: {path}", for_instructor=True, hints=True)
    )
    for note in report.notes:
        console.print(f"note: {note}", style="dim", markup=False)
    console.print(render.summary(report), f"Seed {report.seed}.", highlight=False)
    if json:
        json.write_text(report.to_json() + "\n", encoding="utf-8")


@app.command(rich_help_panel=INSTRUCTORS)
def new(directory: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder.")]) -> None:
    """Make a course of your own, small and complete: it releases, collects and grades as it is."""
    from grader.steps import terminal as render
    from grader.steps.new import new_course

    new_course(directory)
    told = f"{directory}: a course. Read README.md there; then, inside it: {render.program()} release hw1"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=INSTRUCTORS)
def release(
    assignments: Annotated[list[str] | None, typer.Argument(metavar="[HW]...")] = None,
    to: Annotated[Path | None, typer.Option(help="Also write the repository that students clone.")] = None,
    trials: Annotated[
        bool, typer.Option(help="Try each check first, with answers that must not pass; minutes, once.")
    ] = True,
    course: CourseOption = None,
) -> None:
    """Make the students' version of assignments: no solutions, no hidden checks."""
    from grader.steps import release as releases

    if not assignments and to is None:
        raise CourseError("nothing to release: name an assignment, or a folder with --to")
    root = root_of(course)
    for name in assignments or []:
        with console.status(f"Releasing {name} ..."):
            before = (lambda known: _try_checks(root, known)) if trials else (lambda known: None)
            folder = releases.release(root, name, before=before)
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
    allowed: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="PREFIX", help="For git: host and group of repositories; may be repeated."
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="For git over ssh: the private key that may read them.")
    ] = None,
    course: CourseOption = None,
) -> None:
    """Take what students handed in: folders, zip files, or git repositories at a deadline."""
    from grader.steps import collect as collecting

    root = root_of(course)
    with progress(f"Collecting {assignment}") as advance:
        watch = lambda result, done, total: advance(result.student, total)  # noqa: E731
        if source.suffix.lower() in (".csv", ".tsv", ".txt"):
            options = {"allowed": allowed or [], "key": key, "deadline": deadline}
            results = collecting.collect_git(root, assignment, source, progress=watch, **options)
        else:
            options = {"names": names} if names else {}
            results = collecting.collect(root, assignment, source, progress=watch, **options)
    table = Table("student", "files", "when (UTC)", "notes", title=f"Collected for {assignment}")
    for result in results:
        when = result.timestamp.strftime("%Y-%m-%d %H:%M") if result.timestamp else ""
        notes = [f"not taken: {result.refused}"] * bool(result.refused) + result.notes
        table.add_row(escape(result.student), str(result.files), when, escape("; ".join(notes)))
    console.print(table)
    if any(result.refused for result in results):
        raise typer.Exit(1)


@app.command(rich_help_panel=INSTRUCTORS)
def grade(
    assignment: AssignmentArgument,
    student: Annotated[list[str] | None, typer.Option(help="Only this student; may be repeated.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Submissions at once; default one per core for root, else 1. On slurm: tasks at once."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Run again what has not changed.")] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="STUDENT", help="Only say what would run for this student, and why.")
    ] = None,
    runner: RunnerOption = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say who would gain and who would lose; write nothing.")
    ] = False,
    isolation: IsolationOption = "namespaces",
    course: CourseOption = None,
) -> None:
    """Grade collected submissions into the gradebook, each in sandboxes of its own."""
    from grader.pages import class_page as summaries
    from grader.steps import grade as grading
    from grader.steps import terminal as render
    from grader.steps.progress import Board

    root = root_of(course)
    if explain is not None:
        for line in grading.explain(root, assignment, explain, isolation):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    started = time.perf_counter()
    # The plots of the last page take a second to import; the first submission takes longer.
    plots = threading.Thread(target=importlib.import_module, args=("matplotlib.pyplot",), daemon=True)
    first = threading.Lock()
    with Board(f"Grading {assignment}", console) as board:

        def begins(name: str) -> None:
            board.begins(name)
            if first.acquire(blocking=False):
                plots.start()

        results = grading.grade(
            root,
            assignment,
            students=student,
            jobs=jobs,
            isolation=isolation,
            runner=runner,
            force=force,
            dry_run=dry_run,
            progress=board.done,
            begins=begins,
        )
    if dry_run:
        _say_changes(root, assignment, results)
        return
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
    past: Annotated[
        list[Path] | None,
        typer.Option(help="Course root of an earlier year, to count who failed alike; may be repeated."),
    ] = None,
    course: CourseOption = None,
) -> None:
    """Write one page on the graded class: scores, checks, time, what waits for a person, notes with evidence."""
    from grader.pages import class_page as summaries

    path = summaries.summary(root_of(course), assignment, formgrader=formgrader, past=past or [])
    console.print(str(path), highlight=False, soft_wrap=True)


@app.command(rich_help_panel=INSTRUCTORS)
def feedback(
    assignment: AssignmentArgument,
    student: Annotated[list[str] | None, typer.Option(help="Only this student; may be repeated.")] = None,
    course: CourseOption = None,
) -> None:
    """Write the pages that students get back: their notebooks with verdicts, scores and comments."""
    from grader.steps import feedback as feedbacks

    root, problems = root_of(course), []
    with progress(f"Feedback on {assignment}") as advance:
        pages = feedbacks.feedback(
            root,
            assignment,
            students=student or None,
            progress=lambda name, done, total: advance(name, total),
            failed=problems.append,
        )
    console.print(f"{sum(map(len, pages.values()))} pages in {root / 'feedback'}", highlight=False)
    for problem in problems:
        console.print(f"[red]not written:[/] {escape(problem)}", highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)


@app.command(rich_help_panel=INSTRUCTORS)
def export(
    to: Annotated[Path, typer.Option(help="The CSV file to write.", callback=in_a_folder)] = Path(
        "grades.csv"
    ),
    course: CourseOption = None,
) -> None:
    """Write all scores, and the final grade by the weights and thresholds of course.toml, as CSV."""
    from grader.steps import export as exporting

    for path in exporting.export(root_of(course), to):
        console.print(str(path), highlight=False)


def _say_changes(root: Path, assignment: str, results: list[Graded]) -> None:
    """Say what a dry run found, beside what the gradebook holds."""
    from grader.book.changes import changes
    from grader.book.results import class_results
    from grader.steps import terminal as render

    found = changes(class_results(root, assignment, follow=False), results)
    if found:
        console.print(render.would_change(found, f"{assignment}: what grading would change"))
        for line in render.tally(found):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    gain, lose = (sum(sign * change.gain > 1e-9 for change in found) for sign in (1, -1))
    console.print(
        f"{gain} would gain, {lose} would lose, {len(results) - gain - lose} keep their points. Nothing was "
        f"written; {render.program()} grade {assignment} does it.",
        highlight=False,
        markup=False,
    )


def _try_checks(root: Path, known: Assignment) -> None:
    """Raise CourseError with a sentence for each check that passes what it must not pass."""
    from grader.examine.examiner import Examiner
    from grader.steps import trials

    with Examiner("auto") as examiner, progress(f"Trying the checks of {known.name}") as advance:
        if examiner.isolation != "namespaces" or examiner.weakness:
            told = examiner.weakness or "no isolation on this machine"
            console.print(f"note: the checks were not tried, {told}", markup=False, soft_wrap=True)
            return
        found = trials.problems(root, known, examiner, advance)
    if found:
        raise CourseError(
            "\n".join([*found, f"Nothing was released; --no-trials releases {known.name} all the same"])
        )
