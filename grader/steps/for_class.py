"""The commands on a class as a whole, beside grading it: roster, similar, leaderboard, serve, kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grader.course import CourseError
from grader.steps.command import (
    INSTRUCTORS,
    AssignmentArgument,
    CourseOption,
    IsolationOption,
    console,
    course_of,
    in_a_folder,
    progress,
    root_of,
)

app = typer.Typer()


@app.command(rich_help_panel=INSTRUCTORS)
def roster(
    table: Annotated[
        Path, typer.Argument(metavar="CSV", help="id,first_name,last_name,email in its first line.")
    ],
    course: CourseOption = None,
) -> None:
    """Give students their names, from a table: for the class page, formgrader and the export."""
    from grader.steps import roster as rosters

    added, changed, lacking = rosters.take(root_of(course), table)
    told = f"{added} new in the gradebook; of {changed} whom it knew, a name or an address is another now."
    console.print(told, highlight=False, soft_wrap=True)
    if lacking:
        shown = ", ".join(lacking[:10]) + (f" and {len(lacking) - 10} more" if len(lacking) > 10 else "")
        console.print(
            f"Handed in, and not in {table}: {shown}.", markup=False, highlight=False, soft_wrap=True
        )


@app.command(rich_help_panel=INSTRUCTORS)
def similar(
    assignment: AssignmentArgument,
    at_least: Annotated[
        float, typer.Option(min=0.1, max=1, help="Share of one solution that the other has too.")
    ] = 0.5,
    course: CourseOption = None,
) -> None:
    """Show which graded solutions are alike, both sides beside each other: a hint for a person, no verdict."""
    from grader.steps import similar as comparing

    with progress(f"Comparing {assignment}") as advance:
        found = comparing.similar(root_of(course), assignment, at_least=at_least, progress=advance)
    count = f"{len(found.pairs)} pair{' is' if len(found.pairs) == 1 else 's are'} alike"
    console.print(
        f"{count}, of {found.compared} solutions. A hint, no verdict: {found.page}",
        highlight=False,
        soft_wrap=True,
    )
    for told in found.left_out:
        console.print(f"not compared: {told}", markup=False, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=INSTRUCTORS)
def leaderboard(
    assignment: AssignmentArgument,
    student: Annotated[
        list[str] | None, typer.Option(help="Race only this student; may be repeated.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Race again what is known already.")] = False,
    to: Annotated[Path | None, typer.Option(help="The folder for index.html and board.json.")] = None,
    isolation: IsolationOption = "namespaces",
    course: CourseOption = None,
) -> None:
    """Race those who take part, one after the other, and write the leaderboard: a page and JSON, for students.

    Stop what else runs first: each race needs the processors.
    """
    from grader.steps import leaderboard as boards

    with progress(f"Racing {assignment}") as advance:
        result = boards.leaderboard(
            root_of(course),
            assignment,
            students=student,
            again=again,
            to=to,
            isolation=isolation,
            progress=advance,
        )
    console.print(
        f"{result.entrants} take part, {result.raced} races were run: {result.page}, {result.data}",
        highlight=False,
        soft_wrap=True,
    )
    for note in result.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=INSTRUCTORS)
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine only behind a proxy with TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8800,
    jobs: Annotated[int, typer.Option(min=1, help="Uploads examined at once.")] = 1,
    per_hour: Annotated[int, typer.Option(min=1, help="Runs of one student in an hour.")] = 10,
    gpus: Annotated[
        bool | None,
        typer.Option("--gpus/--no-gpus", help="Only parts that ask for a GPU, or only others; default all."),
    ] = None,
    token: Annotated[
        list[str] | None,
        typer.Option(metavar="STUDENT", help="Only print this student's token; may be repeated."),
    ] = None,
    course: CourseOption = None,
) -> None:
    """Take uploads, run the public checks, and give the table back: for CI on every push. Writes no grades."""
    from grader.steps.serve import tokens

    known = course_of(course)
    key = tokens.key_of(known.root)
    if token:
        for student in token:
            typer.echo(f"{student},{tokens.token(key, student)}")
        return
    try:
        from grader.steps.serve.command import listen
    except ModuleNotFoundError as error:
        raise CourseError(f"{error.name} is not installed; pip install -r requirements-server.txt") from None
    listen(known, key, host=host, port=port, jobs=jobs, per_hour=per_hour, gpus=gpus)


@app.command(rich_help_panel=INSTRUCTORS)
def kubernetes(
    assignment: AssignmentArgument,
    image: Annotated[str, typer.Option(help="An image that has this repository's environment and grader.")],
    claim: Annotated[str, typer.Option(help="The volume claim that holds the course.")],
    to: Annotated[Path, typer.Option(help="The file to write.", callback=in_a_folder)] = Path(
        "grade-job.yaml"
    ),
    course: CourseOption = None,
) -> None:
    """Write a Kubernetes Job that grades an assignment, sized from course.toml. Untried on a cluster."""
    from grader.steps.kubernetes import write_job

    write_job(course_of(course).assignment(assignment), image, claim, to)
    told = f"{to}: kubectl apply -f {to}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)
