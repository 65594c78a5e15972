"""What a student hands in: is it complete, may it be imported where it is graded, and the zip of it."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grader.course import Assignment, CourseError, Part
from grader.notebooks.source import NO_ANSWER, not_implemented
from grader.tree import COURSES_OWN, MAX_BYTES, MAX_FILES

# What reading Python may raise: text that nests too deep is no syntax error to it.
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Packing:
    """What goes into the zip, by name, what is missing, and what a student may want to know."""

    names: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def look(assignment: Assignment, directory: Path) -> Packing:
    """Return what of the copy in `directory` would be handed in: its notebooks, modules and whatever lies beside.

    What collecting would leave out stays out, and a note says so; zips and what the course itself put there (checks,
    course.toml) stay out too. Raises CourseError for an import of what is not there where it is graded, and for more
    than can be handed in.
    """
    # Imported late: whoever only runs checks collects nothing.
    from grader.steps.collect.room import Room, files_of

    found = Packing()
    for part in assignment.parts.values():
        refuse_foreign_imports(directory, part)
        notebook = f"{part.notebook}.ipynb"
        wanted = (notebook, *part.files)
        gone = [name for name in wanted if not (directory / name).is_file()]
        found.missing += [f"{name} of part {part.number}" for name in gone]
        there = [directory / name for name in part.files if name not in gone]
        found.notes += [note for path in there for note in _unreadable(path)]
        if stubs := [f"{path.name} ({count})" for path in there if (count := _stubs(path))]:
            found.notes.append(f"part {part.number}, functions not implemented yet: {', '.join(stubs)}")
        if notebook not in gone:
            found.notes += _unwritten(directory / notebook, part)
    expected = [
        name for part in assignment.parts.values() for name in (f"{part.notebook}.ipynb", *part.files)
    ]
    room, notes = Room(expected, MAX_FILES, MAX_BYTES), []
    chosen = files_of(directory, room, notes)
    if room.over:
        raise CourseError(
            f"{directory}: more than the {MAX_FILES} files or {MAX_BYTES >> 20} MiB that can be handed in; "
            "take data and results out"
        )
    # What the course itself put there is not the student's to hear of.
    found.notes += [note for note in notes if not note.startswith("course.toml:")]
    found.names = [
        path.relative_to(directory).as_posix()  # as the disk has it: collecting composes accents
        for name, path in chosen.items()
        if not name.endswith(".zip") and name.partition("/")[0] not in COURSES_OWN
    ]
    return found


def write(directory: Path, names: list[str], target: Path) -> None:
    """Write the files `names` of `directory` to a zip; raises CourseError where `target` cannot be written."""
    aside = target.with_name(f".{target.name}.new")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for name in sorted(names):
                archive.write(directory / name, name)
        aside.replace(target)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise CourseError(
            f"{target}: cannot be written: {error.strerror}; name another file with --to"
        ) from None


def _unreadable(path: Path) -> list[str]:
    """Return a note on a module that is not valid Python."""
    try:
        ast.parse(path.read_bytes(), path.name)
    except UNREADABLE as error:
        line = getattr(error, "lineno", None)
        return [
            f"{path.name}{f', line {line}' if line else ''}: not valid Python: {getattr(error, 'msg', error)}"
        ]
    return []


def _stubs(path: Path) -> int:
    """Return how many functions still raise in the place of a solution."""
    return path.read_text(encoding="utf-8", errors="replace").count(not_implemented("").removesuffix('")'))


def _unwritten(path: Path, part: Part) -> list[str]:
    """Return notes on answers of a notebook that are as they were handed out."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        answers = {
            cell["metadata"]["nbgrader"]["grade_id"]: "".join(cell["source"]).strip()
            for cell in cells
            if cell.get("metadata", {}).get("nbgrader", {}).get("solution")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{path.name}: not a notebook that can be read; save it again in Jupyter"]
    blank = ("", NO_ANSWER, "# YOUR CODE HERE\nraise NotImplementedError()")  # nbgrader's own for code
    empty = [name for name, text in answers.items() if name in part.reports and text in blank]
    points = sum(part.reports[name] for name in empty)
    return [f"{path.name}, answers still empty: {', '.join(empty)} ({points:g} points)"] if empty else []


def refuse_foreign_imports(directory: Path, part: Part) -> None:
    """Raise CourseError where a module of the part, or one beside it that it imports, imports from the course.

    The weeks, `effdl` and `grader` are installed on a student's machine, and are not where work is graded.
    """
    waiting, seen = [name for name in part.files if (directory / name).is_file()], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for module, line in _imports(directory / name):
            beside = f"{module}.py"
            if (directory / beside).is_file() or (directory / module).is_dir():
                if beside not in seen and (directory / beside).is_file():
                    waiting.append(beside)
            elif _is_the_courses(module):
                raise CourseError(
                    f"{name}, line {line}: imports {module}, which is not there where your work is graded; "
                    f"copy what you need into {name}, and name in a comment the file that it is from"
                )


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the top-level names that a module imports, with the line."""
    try:
        tree = ast.parse(path.read_bytes())
    except UNREADABLE:  # the checks say it better
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def _is_the_courses(module: str) -> bool:
    if module in sys.stdlib_module_names:
        return False
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    places = [*(found.submodule_search_locations or []), found.origin or ""] if found else []
    # The environment itself may lie in the repository.
    inside = [Path(os.path.abspath(place)) for place in places if place]
    return any(place.is_relative_to(REPOSITORY) and not place.is_relative_to(sys.prefix) for place in inside)
