"""Writes what students get: a released assignment, or the whole repository that they clone."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path

from grader.book.nbgrader_course import NbCourse, run_converter
from grader.course import Assignment, Course, CourseError
from grader.notebooks import PROGRAMS
from grader.notebooks.source import build_assignment, build_notebook, solution_regions, validate
from grader.notebooks.template import grade_id, is_report

# What a student needs of the repository besides the weeks and the assignments.
_SHARED = ("effdl", "grader", "week[0-9][0-9]_*", "requirements.txt", "pyproject.toml", "conftest.py")
_SHARED += ("LICENSE*", ".gitattributes", ".gitignore")
_LEFT_OUT = {"__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".ruff_cache", ".hypothesis", ".git"}
# Of the grader itself: how it is tested and shown needs the sources of the assignments.
_NOT_FOR_STUDENTS = ("grader/tests/", "grader/demo/", "grader/bench/")
_LONG = 40  # characters; a shorter solution may well stand in the text by chance


def release(course_root: Path | str, assignment: str, say: Callable[[str], None] = print) -> Path:
    """Write the released copy of `assignment` and record it in the gradebook; return its folder.

    Runs nbgrader's own `generate_assignment` with this course's configuration, also for a course made
    elsewhere. Tells `say`, line by line, which tests of plain notebooks can be kept apart from the student's
    code, and what to rewrite so that more can. Raises CourseError where the source is inconsistent or a secret
    would get out.
    """
    from nbgrader.converters import GenerateAssignment

    course = NbCourse.open(course_root)
    known = course.data.assignments.get(assignment) if course.data else None
    if course.data and known is None and not course.path("source", ".", assignment).is_dir():
        course.data.assignment(assignment)
    if known is not None and known.parts:
        if problems := validate(known):
            raise CourseError("\n".join(problems))
        build_assignment(known)
    course.gradebook().close()  # creates it, where this is the course's first release
    course.folders.assignment_id = assignment
    converter = GenerateAssignment(coursedir=course.folders, config=course.config)
    converter.force = True
    run_converter(converter, f"releasing {assignment}")
    folder = course.path("release", ".", assignment)
    if known is not None:
        refuse_leaks(folder, [known])
    _decide_modes(course, assignment, say)
    return folder


def _decide_modes(course: NbCourse, assignment: str, say: Callable[[str], None]) -> None:
    """Find out where each test of the plain notebooks runs, by running the reference."""
    from grader.book.modes import prepared_notebook
    from grader.notebooks.judge import load_template

    source = course.path("source", ".", assignment)
    gradebook = course.gradebook()
    try:
        templates = [
            load_template(gradebook, assignment, name, source / f"{name}.ipynb", judges_files=False)
            for name in sorted(notebook.name for notebook in gradebook.find_assignment(assignment).notebooks)
            if course.part(assignment, name) is None
        ]
    finally:
        gradebook.close()
    if not templates:
        return
    from grader.examine.examiner import Examiner

    wall = course.cell_seconds
    with Examiner("auto", programs=PROGRAMS) as examiner:  # the instructor's own code
        for template in templates:
            prepared = prepared_notebook(course, assignment, template, lambda: examiner.place, wall, say)
            if prepared.plan is not None and prepared.plan.lost:
                _refuse_less_than_nbgrader(course, assignment, template.name, prepared.plan.lost)


def _refuse_less_than_nbgrader(
    course: NbCourse, assignment: str, notebook: str, lost: dict[str, str]
) -> None:
    """Raise CourseError where nbgrader gives the instructor's own answers more points in a test than we do."""
    from grader.book.stock import stock_points

    given = stock_points(course, assignment, notebook)
    for test, told in lost.items():
        if given.get(test, 0.0) > float(told.split()[0]):
            raise CourseError(
                f"{notebook}: {test} gives the reference {told}, and {given[test]:g} under nbgrader; students would "
                "lose them too: rewrite the test or its cells so that they work in the sandbox (REFERENCE.md)"
            )


def release_repository(course_root: Path | str, target: Path | str) -> list[str]:
    """Write the repository that students clone to the empty folder `target`; return the assignments in it.

    It holds the weeks, `effdl`, `grader`, and every assignment that has been released, with its public checks:
    no source, no hidden check, no solution. Raises CourseError where `target` holds something already, no
    assignment is released, or a secret would get out.
    """
    course, target = Course.load(course_root), Path(target)
    if target.exists() and any(path.name != ".git" for path in target.iterdir()):
        raise CourseError(f"{target}: not empty; name a new folder, or empty this one first")
    repository = course.root.parent
    for pattern in _SHARED:
        for path in sorted(repository.glob(pattern)):
            for name in _tracked(repository, path):
                if name.startswith(_NOT_FOR_STUDENTS):
                    continue
                _copy(repository / name, target / name)
    released = [name for name in course.assignments if (course.root / "release" / name).is_dir()]
    if not released:
        raise CourseError(f"{course.root / 'release'}: empty; release an assignment first")
    place = target / course.root.name
    for name in released:
        folder = course.root / "release" / name
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not _LEFT_OUT & set(path.relative_to(folder).parts):
                _copy(path, place / "release" / name / path.relative_to(folder))
    _copy(course.root / "course.toml", place / "course.toml")
    _write_front_page(course, released, target)
    _let_git_keep_releases(target / ".gitignore", f"/{course.root.name}/release/")
    refuse_leaks(target, list(course.assignments.values()))
    return released


def _write_front_page(course: Course, released: list[str], target: Path) -> None:
    """Write what a student reads first, and the targets of the Makefile that work without the sources."""
    makefile = course.root.parent / "Makefile"
    if makefile.is_file():
        text = makefile.read_text(encoding="utf-8").partition("# --- needs the sources")[0]
        text = text.replace("clean demo test", "clean")
        (target / "Makefile").write_text(text, encoding="utf-8")
    lines = [
        f"# {course.name}",
        "",
        "The labs of the course, and its assignments as they are released. You need Linux, macOS or WSL2 on",
        "Windows, and Python 3.11 or newer.",
        "",
        "```",
        "make lab    # sets everything up in .venv and opens Jupyter; start with week01_intro/lecture.ipynb",
        "```",
        "",
        "Each week's README says what its lab answers and how to run it without Jupyter, on a GPU server or hosted.",
    ]
    for name in released:
        assignment = course.assignments[name]
        due = f", due {assignment.deadline.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if assignment.deadline else ""
        lines += [
            "",
            f"## {assignment.title}: `{name}`{due}",
            "",
            "```",
            f".venv/bin/grader start {name}         # your own copy, in ./{name}",
            f".venv/bin/grader check --in {name}    # the checks that grade you, less the hidden ones",
            "```",
            "",
            "Hand in your copy: its notebook and the modules that you edited.",
        ]
    (target / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _tracked(repository: Path, path: Path) -> Iterator[str]:
    """Yield the files at `path` that git keeps, or all of them outside a git repository."""
    if (repository / ".git").exists():
        command = ["git", "-C", str(repository), "ls-files", "-z", "--", str(path.relative_to(repository))]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
        yield from (name for name in listed if name and (repository / name).is_file())
        return
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file() and not _LEFT_OUT & set(file.relative_to(repository).parts):
            yield str(file.relative_to(repository))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _let_git_keep_releases(path: Path, ignored: str) -> None:
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if line.strip() != ignored), encoding="utf-8")


# --- secrets ------------------------------------------------------------------------------------------------


def refuse_leaks(folder: Path, assignments: list[Assignment]) -> None:
    """Raise CourseError where a file under `folder` holds a hidden check or a solution of `assignments`."""
    secrets = [secret for assignment in assignments for secret in secrets_of(assignment)]
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or ".git" in path.relative_to(folder).parts:
            continue
        text = _squeeze(_text_of(path))
        for what, secret in secrets:
            if secret in text:
                raise CourseError(f"{path}: holds {what}, which students must not get; do not publish it")


def _text_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".ipynb" and isinstance(cells := json.loads(text).get("cells"), list):
        return "\n".join("".join(cell["source"]) for cell in cells)
    return text


def secrets_of(assignment: Assignment) -> list[tuple[str, str]]:
    """Return (what it is, text without line breaks) of what students must not get.

    These are the names of hidden checks, and solutions and model answers, where they are long enough to tell.
    """
    found = []
    for part in assignment.parts.values():
        if part.checks_hidden.is_file():
            tree = ast.parse(part.checks_hidden.read_text(encoding="utf-8"))
            found += [
                (f"the name of the hidden check {node.name}", node.name)
                for node in tree.body
                if isinstance(node, ast.FunctionDef) and node.decorator_list
            ]
        if (part.source / f"{part.notebook}.md").is_file():
            for cell in build_notebook(part).cells:
                if is_report(cell) and len(_squeeze(cell.source)) >= _LONG:
                    found.append((f"the model answer of {grade_id(cell)}", _squeeze(cell.source)))
        for name in part.files:
            path = part.source / name
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            lines = text.split("\n")
            for begin, end in solution_regions(text, str(path)):
                solution = _squeeze("\n".join(lines[begin + 1 : end]))
                if len(solution) >= _LONG:
                    found.append((f"the solution at {name}:{begin + 1}", solution))
    return found


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
