"""What the commands share: options, the screen, the course that is meant, and a bar while checks run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from grader.course import Course, Part
from grader.runners import RUNNERS

console = Console()

STUDENTS, INSTRUCTORS, BOTH = "Students and self-learners", "Instructors", "Everybody"


def known_isolation(value: str) -> str:
    if value not in (known := ("auto", "namespaces", "plain")):
        raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}")
    return value


def known_runner(value: str) -> str:
    if value not in RUNNERS:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(RUNNERS)}")
    return value


def in_a_folder(path: Path | None) -> Path | None:
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
        help="namespaces (sandbox), plain (none: your own code only), or auto.", callback=known_isolation
    ),
]
RunnerOption = Annotated[
    str,
    typer.Option(
        help="Where submissions run: local, or slurm (a cluster; see [slurm] in course.toml).",
        callback=known_runner,
    ),
]
AssignmentArgument = Annotated[str, typer.Argument(metavar="HW", help="Such as hw1_distributed.")]


def root_of(course: Path | None) -> Path:
    """Return the course root; with --course it may be any nbgrader course, without a course.toml."""
    return course.resolve() if course else Course.find().root


def course_of(root: Path | None) -> Course:
    return Course.load(root) if root else Course.find()


def examine_part(examiner: Any, part: Part, folder: Path, **options: Any) -> Any:
    """Return the report of an examiner on `folder`, showing which check is done."""
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
