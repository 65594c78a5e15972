"""The commands of students and of those who learn alone: start, check, progress, pack, solution."""

from __future__ import annotations

import shlex
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grader.course import Course, CourseError
from grader.steps.command import (
    STUDENTS,
    AssignmentArgument,
    CourseOption,
    IsolationOption,
    console,
    course_of,
    examine_part,
    in_a_folder,
)

if TYPE_CHECKING:
    from grader.course import Part
    from grader.examine.report import Report

app = typer.Typer()


@app.command(rich_help_panel=STUDENTS)
def start(
    assignment: AssignmentArgument,
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="New folder; default ./HW.")] = None,
    course: CourseOption = None,
) -> None:
    """Make your own copy of an assignment to work in."""
    from grader.steps import terminal as render
    from grader.steps import workspace

    directory = directory or Path(assignment)
    # Asked first: nbgrader, which makes the copy, finds the environment's programs on PATH, and the shell need not.
    told = f"Then: {render.program()} check --in {shlex.quote(str(directory))}"
    with console.status("Making your copy ..."):
        copy = workspace.start(course_of(course), assignment, directory)
    for part in copy.parts.values():
        console.print(f"Part {part.number}, {part.title}", highlight=False, soft_wrap=True)
        console.print(f"  read {directory / part.notebook}.ipynb", highlight=False, soft_wrap=True)
        console.print(f"  edit {' '.join(part.files)}", highlight=False, soft_wrap=True)
    console.print(told, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=STUDENTS)
def check(
    part: Annotated[int | None, typer.Argument(help="Which part; all when not given.")] = None,
    item: Annotated[str | None, typer.Option(help="Only the checks of this item.")] = None,
    directory: Annotated[Path, typer.Option("--in", help="Your copy of the assignment.")] = Path(),
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every check: what it asks, measured, and found.")
    ] = False,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="The hidden checks too, where this repository has them.")
    ] = False,
    hint: Annotated[
        bool, typer.Option("--hint", help="Open a hint on what failed; once more, and the next one opens.")
    ] = False,
    all_hints: Annotated[bool, typer.Option("--all-hints", help="Every check, with all hints.")] = False,
    output: Annotated[
        bool, typer.Option("--output", help="Every check, with what your code prints, also where it passes.")
    ] = False,
    isolation: IsolationOption = "auto",
) -> None:
    """Run the public checks on your copy: the very checks that grade you, less the hidden ones."""
    from grader.examine.examiner import Examiner
    from grader.sandbox.build import SandboxError
    from grader.steps import done, workspace
    from grader.steps import pack as packing
    from grader.steps import terminal as render

    assignment = workspace.find(directory)
    if hidden:
        assignment = workspace.with_hidden_checks(assignment, directory)
    parts = [assignment.part(part)] if part else list(assignment.parts.values())
    if item and not any(item in entry.items for entry in parts):
        there = ", ".join(name for entry in parts for name in entry.items)
        raise CourseError(f"{item} is not an item of {assignment.name}; items: {there}")
    parts = [entry for entry in parts if item is None or item in entry.items]
    for entry in parts:
        packing.refuse_foreign_imports(directory, entry)
    passed, hints = True, _Hints(directory, one=hint, every=all_hints)
    with console.status("Starting the sandbox ..."):
        examiner = Examiner(isolation)
    with examiner:
        for entry in parts:
            only = [item] if item else None
            title = f"{assignment.name}, part {entry.number}: {entry.title}"
            try:
                report = examine_part(
                    examiner, entry, directory, hidden=hidden, items=only, skip=not hidden, output=output
                )
            except SandboxError as error:
                if not entry.gpus:
                    raise
                # A laptop without a GPU still shows what it can of the other parts.
                told = f"{title}: not checked, it needs a GPU: {error}"
                console.print(told, markup=False, highlight=False, soft_wrap=True)
                passed = False
                continue
            in_full = verbose or all_hints or output
            console.print(
                render.details(report, title, hints=all_hints) if in_full else render.items(report, title)
            )
            for note in report.notes:
                console.print(f"note: {note}", style="dim", markup=False)
            if told := done.keep(directory, entry, report, hidden=hidden):
                console.print(f"note: {told}", style="dim", markup=False)
            unseen = () if hidden else dict.fromkeys(r.item for r in report.checks)
            console.print(render.summary(report, unseen), highlight=False)
            hints.show(entry, report)
            passed = passed and all(result.verdict == "pass" for result in report.checks)
    if not passed:
        again = " ".join(
            [
                *([str(parts[0].number)] if len(parts) == 1 else []),
                *(["--item", item] if item else []),
                *(["--hidden"] if hidden else []),
            ]
        )
        told = f"{render.program()} check {again} --in {shlex.quote(str(directory))}".replace("  ", " ")
        if not (verbose or output or all_hints):
            console.print(f"All of it, with measurements: {told} -v", highlight=False, soft_wrap=True)
        if line := hints.what_next(told):
            console.print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if passed else 1)


class _Hints:
    """The hints of one `grader check`: one more is opened where `one` is asked for, beside those opened before.

    A learner who reads all of them at once has no exercise left.
    """

    def __init__(self, directory: Path, *, one: bool, every: bool):
        self._directory, self._one, self._every = directory, one and not every, every
        self._known = self._shown = self._closed = 0
        self._opened = False

    def show(self, part: Part, report: Report) -> None:
        """Print the open hints of a part whose report was kept, and open the next one if none was opened yet."""
        from grader.steps import done

        for failed, known in done.hints(self._directory, part, report):
            self._known += known
            opens = self._one and not known and not self._opened
            if opens:
                done.open_hint(self._directory, part, failed)
                self._opened = True
            elif not known:
                self._closed += 1
            if self._one and (known or opens):
                self._shown += 1
                told = f"{'hint' if opens else 'opened before'}, {failed.name}: {failed.hint}"
                style = "bold" if opens else "dim"
                console.print(told, style=style, markup=False, highlight=False, soft_wrap=True)

    def what_next(self, command: str) -> str:
        """Return how to see a hint, or why there is no other; nothing where all were asked for."""
        if self._every:
            return ""
        if self._closed:
            return f"{'The next hint' if self._shown else 'A hint'} ({self._closed} left): {command} --hint"
        if not self._one:
            return f"Hints that you have opened ({self._known}): {command} --hint" if self._known else ""
        if self._shown:
            return "There is no other hint."
        return "There is no hint on this: the reason above says what there is to say."


@app.command(rich_help_panel=STUDENTS)
def progress(
    directory: Annotated[
        Path, typer.Option("--in", help="Your copy of an assignment, or the folder that holds your copies.")
    ] = Path(),
    written: Annotated[
        str | None,
        typer.Option(metavar="REPORT", help="Say that you have written this report (NAME, or PART/NAME)."),
    ] = None,
    to_json: Annotated[
        Path | None,
        typer.Option("--json", help="Write it to this file too, for the site's page.", callback=in_a_folder),
    ] = None,
) -> None:
    """Show what is done in your copies by the last checks, how much is left, and what comes next."""
    from grader.steps import done

    if written:
        done.written(directory, written)
    copies = done.copies(directory)
    for copy in copies:
        assignment, found = done.exercises(copy)
        console.print(done.picture(copy, assignment, found))
        told = " ".join(done.advice(copy, assignment, found)).rstrip()
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    if to_json:
        done.write_data(to_json, copies)
        told = f"{to_json}: written; drop it on the page Progress of the course's site (make site)."
        console.print(told, markup=False, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=STUDENTS)
def pack(
    directory: Annotated[Path, typer.Option("--in", help="Your copy of the assignment.")] = Path(),
    to: Annotated[
        Path | None, typer.Option(help="The zip to write; default HW.zip here.", callback=in_a_folder)
    ] = None,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Write it although a file is missing.")
    ] = False,
) -> None:
    """Look whether your copy is complete, and write the zip that you hand in."""
    from grader.steps import pack as packing
    from grader.steps import workspace

    assignment = workspace.find(directory)
    found = packing.look(assignment, directory)
    for note in found.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    if found.missing and not incomplete:
        raise CourseError(
            f"{directory}: {', '.join(found.missing)} missing; nothing was written. Put it back from a fresh copy "
            "(`start`), or say --incomplete: its checks then get no points"
        )
    target = to or Path(f"{assignment.name}.zip")
    packing.write(directory, found.names, target)
    size = max(1, target.stat().st_size >> 10)
    told = (
        f"{target}: {len(found.names)} files, {size} KiB. {Course.load(directory).hand_in or 'Hand it in.'}"
    )
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    if assignment.deadline:
        due = assignment.deadline.astimezone(UTC)
        console.print(f"Due {due:%Y-%m-%d %H:%M} UTC.", highlight=False)


@app.command(rich_help_panel=STUDENTS)
def solution(
    item: Annotated[str, typer.Argument(help="The item or the file whose reference you want to read.")],
    directory: Annotated[Path, typer.Option("--in", help="Your copy of the assignment.")] = Path(),
) -> None:
    """Show the reference solution beside yours, once you have tried."""
    from grader.steps import workspace

    console.print(workspace.solution(directory, item, wide=console.width >= 160))
