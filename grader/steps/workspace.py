"""A student's own copy of an assignment: made, found again from inside it, and compared with the reference."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.syntax import Syntax

from grader.course import Assignment, Course, CourseError, Part, course_around
from grader.steps.terminal import program


def start(course: Course, name: str, directory: Path) -> Assignment:
    """Copy the released assignment into the new folder `directory` and return it as found there.

    In a repository that still has the sources, the release is made first. The copy carries `course.toml`, so
    that `grader check` works wherever it lies. Raises CourseError where the folder holds something already.
    """
    assignment = course.assignment(name)
    if not assignment.parts:
        raise CourseError(f"{name} has no parts yet; its weeks are still to come")
    if directory.exists() and any(directory.iterdir()):
        raise CourseError(f"{directory}: not empty, and your work must not be lost; name a new folder")
    if assignment.source == course.root / "source" / name:
        from grader.steps.release import release

        released = release(course.root, name)
    else:
        released = assignment.source
    shutil.copytree(released, directory, dirs_exist_ok=True)
    shutil.copy(course.root / "course.toml", directory / "course.toml")
    return find(directory)


def find(directory: Path) -> Assignment:
    """Return the assignment of which `directory` is a copy, with paths into that copy."""
    if not directory.is_dir():
        raise CourseError(f"{directory}: no such folder; make a copy with `{program()} start HW`")
    directory = directory.resolve()
    if (around := course_around(directory)) is not None:
        raise CourseError(
            f"{directory}: a submission to {around}, whose own checks are not run; "
            f"say: grader examine HW {directory} --part N"
        )
    course = Course.find(directory)
    for assignment in course.assignments.values():
        if assignment.source == directory and any(
            (directory / f"{part.notebook}{ending}").exists()
            for part in assignment.parts.values()
            for ending in (".ipynb", ".md")
        ):
            return assignment
    names = ", ".join(name for name, assignment in course.assignments.items() if assignment.parts)
    raise CourseError(
        f"{directory}: not a copy of an assignment; make one with `{program()} start HW`, and name it with "
        f"`--in HW`. Assignments: {names}"
    )


def solution(directory: Path, wanted: str, *, wide: bool = False) -> RenderableType:
    """Return the student's module and the reference, one beside the other, for an item or a file.

    Raises CourseError where nothing was tried yet, or where the repository has no solutions (a class's own).
    """
    assignment = find(directory)
    part, name = _module(assignment, wanted)
    reference = _reference(assignment.name, part, name, directory)
    path = directory / name
    if not path.is_file():
        raise CourseError(f"{path}: missing; the reference is shown once you have tried")
    yours = path.read_text(encoding="utf-8", errors="replace")

    from grader.notebooks.source import strip_solutions

    if yours.split() == strip_solutions(reference, name).split():
        raise CourseError(f"{path}: still as it was handed out; try first, then look")
    pages = [
        Panel(Syntax(text, "python", line_numbers=True, word_wrap=True), title=title)
        for title, text in ((f"yours: {path}", yours), (f"reference: {name}", reference))
    ]
    if not wide:
        return Group(*pages)
    from rich.table import Table

    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(*pages)
    return grid


def _module(assignment: Assignment, wanted: str) -> tuple[Part, str]:
    for part in assignment.parts.values():
        name = part.modules.get(wanted, wanted)
        if name in part.files:
            return part, name
    items = ", ".join(item for part in assignment.parts.values() for item in part.modules)
    raise CourseError(f"{wanted} is neither an item nor a file of {assignment.name}; items: {items}")


def with_hidden_checks(assignment: Assignment, directory: Path) -> Assignment:
    """Return the assignment as the repository with its sources has it, so that hidden checks can run on a copy.

    Raises CourseError in a repository that was released to a class.
    """
    for root in _sources(directory):
        if (root / "course.toml").is_file() and (root / "source" / assignment.name).is_dir():
            return Course.load(root).assignment(assignment.name)
    raise CourseError(
        f"{directory}: no hidden checks here, because this repository was released to a class; "
        "they run when your work is graded"
    )


def _sources(directory: Path) -> list[Path]:
    """Return course roots that may have sources: around the copy, and where the grader is installed from."""
    folders = (*directory.resolve().parents, Path(__file__).resolve().parents[2])
    return [root for folder in folders for root in (folder, folder / "assignments")]


def _reference(name: str, part: Part, file: str, directory: Path) -> str:
    """Return the reference module from the repository around the copy, or from the one grader is installed from."""
    from grader.notebooks.source import solution_regions

    for root in _sources(directory):
        path = root / "source" / name / file
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            if solution_regions(text, str(path)):
                return text
    raise CourseError(
        f"{file}: no reference here, because this repository was released to a class; "
        "your instructor shows solutions after the deadline"
    )
