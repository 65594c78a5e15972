"""Writes what students get: a released assignment, or the whole repository that they clone."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from grader.book.nbgrader_course import NbCourse, run_converter
from grader.book.settings import refuse_other_languages
from grader.course import Assignment, Course, CourseError
from grader.notebooks import PROGRAMS
from grader.notebooks.source import build_assignment, validate
from grader.steps import front_page
from grader.steps.secrets import refuse_leaks
from grader.whole_files import replaced_folder

# What a student needs of the repository besides the weeks and the assignments.
_SHARED = (
    "effdl",
    "grader",
    "week[0-9][0-9]_*",
    "requirements.txt",
    "requirements-week*.txt",
    "pyproject.toml",
    "conftest.py",
)
_SHARED += ("LICENSE*", ".gitattributes", ".gitignore")
_LEFT_OUT = {"__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".ruff_cache", ".hypothesis", ".git"}
# Of the grader itself: how it is tested and shown needs the sources of the assignments; a new course holds solutions.
_NOT_FOR_STUDENTS = ("grader/tests/", "grader/demo/", "grader/bench/", "grader/steps/new_course/")


def release(
    course_root: Path | str,
    assignment: str,
    say: Callable[[str], None] = print,
    *,
    before: Callable[[Assignment], None] = lambda known: None,
) -> Path:
    """Write the released copy of `assignment` and record it in the gradebook; return its folder.

    Runs nbgrader's own `generate_assignment` with this course's configuration, also for a course made
    elsewhere. Tells `say`, line by line, which tests of plain notebooks can be kept apart from the student's
    code, and what to rewrite so that more can. `before` is called with an assignment that has checks, once its
    source is found consistent: what it raises ends the release. Raises CourseError where the source is inconsistent
    or a secret would get out; then nothing has changed, and an earlier release is still there.
    """
    from nbgrader.converters import GenerateAssignment

    course = NbCourse.open(course_root)
    known = course.data.assignments.get(assignment) if course.data else None
    if course.data and known is None and not course.path("source", ".", assignment).is_dir():
        course.data.assignment(assignment)
    if known is not None and known.parts:
        if problems := validate(known):
            raise CourseError("\n".join(problems))
        _refuse_plain_configuration(course, assignment)
        before(known)
        build_assignment(known)
    course.choose(assignment)
    _refuse_other_languages(course, assignment)
    folder = course.path("release", ".", assignment)
    with (
        _forgotten_on_failure(course, assignment),
        tempfile.TemporaryDirectory(prefix="grader-release-") as aside,
    ):
        final, course.folders.release_directory = course.folders.release_directory, aside
        converter = GenerateAssignment(coursedir=course.folders, config=course.config)
        converter.force = True
        run_converter(converter, f"releasing {assignment}")
        made = course.path("release", ".", assignment)
        course.folders.release_directory = final
        if known is not None:
            refuse_leaks(made, [known])
        _decide_modes(course, assignment, say)
        with replaced_folder(folder) as building:
            shutil.copytree(made, building, dirs_exist_ok=True)
    return folder


def _refuse_other_languages(course: NbCourse, assignment: str) -> None:
    """Raise CourseError for a plain notebook whose cells another kernel than Python's is to run."""
    from grader.notebooks.judge import kernel_of

    source = course.path("source", ".", assignment)
    plain = [path for path in sorted(source.glob("*.ipynb")) if course.part(assignment, path.stem) is None]
    kernels = {path.stem: kernel_of(None, path) for path in plain}
    refuse_other_languages(course.config, assignment, kernels)


def _refuse_plain_configuration(course: NbCourse, name: str) -> None:
    """Raise CourseError where nbgrader's own conversion would run, which releases checks and solutions."""
    preprocessors = course.config.GenerateAssignment.get("preprocessors") or []
    if any(getattr(one, "__name__", one) == "PrepareRelease" for one in preprocessors):
        return
    path = course.root / "nbgrader_config.py"
    wrong = "does not call the grader's configure" if path.is_file() else "not found"
    raise CourseError(
        f"{path}: {wrong}, and without it nbgrader would release the solutions and hidden checks of {name}; "
        "nothing was released. Copy the file from a course that `grader new` makes"
    )


@contextlib.contextmanager
def _forgotten_on_failure(course: NbCourse, assignment: str) -> Iterator[None]:
    """Take an assignment that was not there before, or the whole new gradebook, away where the block fails."""
    from nbgrader.api import MissingEntry

    new = [path for path in course.database() if not path.exists()]
    gradebook = course.gradebook()  # creates it, where this is the course's first release
    try:
        known = any(one.name == assignment for one in gradebook.assignments)
    finally:
        gradebook.close()
    try:
        yield
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        if not new and not known:
            gradebook = course.gradebook()
            try:
                gradebook.remove_assignment(assignment)
            except MissingEntry:
                pass  # it had not come that far
            finally:
                gradebook.close()
        raise


def _decide_modes(course: NbCourse, assignment: str, say: Callable[[str], None]) -> None:
    """Find out where each test of the plain notebooks runs, by running the reference."""
    from grader.book.modes import prepared_notebook
    from grader.notebooks.decide import failures
    from grader.notebooks.judge import load_template

    source = course.path("source", ".", assignment)
    gradebook = course.gradebook()
    try:
        templates = [
            load_template(
                gradebook, assignment, name, source / f"{name}.ipynb", judges_files=False, **course.marks
            )
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
            told: set[str] = set()

            def tell(line: str, told: set[str] = told) -> None:
                told.add(line)
                say(line)

            prepared = prepared_notebook(course, assignment, template, lambda: examiner.place, wall, tell)
            # What was decided before is not told again, but for what nobody can pass.
            for line in failures(template.name, prepared.plan) if prepared.plan else ():
                if line not in told:
                    say(line)
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
    was_there = target.exists()
    try:
        return _write_repository(course, target)
    except BaseException:
        for path in target.iterdir() if target.exists() else ():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if target.exists() and not was_there:
            target.rmdir()
        raise


def _write_repository(course: Course, target: Path) -> list[str]:
    released = [name for name in course.assignments if (course.root / "release" / name).is_dir()]
    if not released:
        raise CourseError(f"{course.root / 'release'}: empty; release an assignment first")
    # A course made by `grader new` lies anywhere, and its students need the grader all the same.
    own = (course.root.parent / "grader" / "cli.py").is_file()
    repository = course.root.parent if own else Path(__file__).resolve().parents[2]
    for pattern in _SHARED:
        if pattern.startswith("week") and not own:
            continue
        for path in sorted(repository.glob(pattern)):
            for name in _tracked(repository, path):
                if name.startswith(_NOT_FOR_STUDENTS):
                    continue
                _copy(repository / name, target / name)
    # Where a student's command finds it, whatever the folder is called at home.
    place = target / (course.root.name if own else "assignments")
    for name in released:
        folder = course.root / "release" / name
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not _LEFT_OUT & set(path.relative_to(folder).parts):
                _copy(path, place / "release" / name / path.relative_to(folder))
    _copy(course.root / "course.toml", place / "course.toml")
    front_page.write(course, released, target, repository / "Makefile")
    _let_git_keep_releases(target / ".gitignore", f"/{place.name}/release/")
    refuse_leaks(target, list(course.assignments.values()))
    return released


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
