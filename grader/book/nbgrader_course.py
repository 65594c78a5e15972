"""An nbgrader course root: its configuration, its folders, its gradebook, and the course data beside them."""

from __future__ import annotations

import glob
import logging
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.book import settings
from grader.book.private import close_to_others
from grader.course import Course, CourseError, Part, refuse_strangers
from grader.lean import nbformat  # noqa: F401  (before nbgrader imports jsonschema the slow way)
from grader.whole_files import folder_alike

if TYPE_CHECKING:
    from nbgrader.api import Gradebook
    from nbgrader.coursedir import CourseDirectory
    from sqlalchemy.engine import Engine
    from traitlets.config import Config

    from grader.notebooks.limits import Seconds
    from grader.notebooks.template import Marks


_ANY = "<any>"  # a student or an assignment
_OF_STUDENTS = "submitted", "autograded", "feedback"
_STUDENT = "\0student\0"  # stands in no path


@dataclass
class NbCourse:
    """An nbgrader course root with its configuration, and the course data where it has any."""

    root: Path
    config: Config
    folders: CourseDirectory
    data: Course | None  # None for a course made elsewhere, without course.toml

    @classmethod
    def open(cls, root: Path | str) -> NbCourse:
        """Read `root`'s configuration and course.toml; raises CourseError where one of them cannot be used."""
        import nbgrader.coursedir
        from sqlalchemy.exc import ArgumentError
        from traitlets import TraitError

        root = Path(root).resolve()
        if not root.is_dir():
            raise CourseError(f"{root}: no such folder; name the course with --course")
        refuse_strangers(root)
        config = settings.load(root)
        if not config.CourseDirectory.get("root") or any(map(Path.exists, settings.of_course(root))):
            config.CourseDirectory.root = str(root)
        data = Course.load(root) if (root / "course.toml").is_file() else None
        try:
            course = cls(root, config, nbgrader.coursedir.CourseDirectory(config=config), data)
            kept = [root / ".grader", *course.database()]
        except (TraitError, ArgumentError) as error:
            raise CourseError(f"{root}, nbgrader's configuration: {' '.join(str(error).split())}") from None
        course._refuse_patterns()
        kept += [path for step in _OF_STUDENTS if (path := course._top(step))]
        close_to_others(kept, group=course.folders.groupshared)
        return course

    def _refuse_patterns(self) -> None:
        """Raise CourseError for a folder that nbgrader's `glob` would take for a pattern.

        nbgrader then finds no notebook there, and does not recognise the files that it must not release.
        """
        for step in ("source", "release", *_OF_STUDENTS):
            folder = self.path(step, "STUDENT", "ASSIGNMENT")
            if odd := sorted(set("*?[") & set(str(folder))):
                told = ", ".join("[ or ]" if character == "[" else character for character in odd)
                if not set(odd).isdisjoint(str(self.root)):
                    folder = self.root
                raise CourseError(
                    f"{folder}: nbgrader takes {told} in a folder's name for a pattern; rename it"
                )

    def choose(self, assignment: str) -> None:
        """Let nbgrader's converters work on this assignment; raises CourseError for a name that it cannot have."""
        from traitlets import TraitError

        if odd := sorted(set("*?[") & set(assignment)):
            raise CourseError(
                f"{assignment}: nbgrader takes {odd[0]} in a name for a pattern; rename the assignment"
            )
        try:
            self.folders.assignment_id = assignment
        except TraitError as error:
            raise CourseError(f"{assignment}: {error}; rename it") from None

    def close_step(self, step: str) -> None:
        """Make the folder of a step that writes about students, where it is missing: none for others to enter."""
        if path := self._top(step):
            folder_alike(path, 0o770 if self.folders.groupshared else 0o700)

    def _top(self, step: str) -> Path | None:
        """Return the folder below the root that a step is, None where it lies elsewhere and may be others' too."""
        path = self.path(step, _ANY, _ANY)
        first = path.relative_to(self.root).parts[0] if path.is_relative_to(self.root) else _ANY
        return None if first == _ANY else self.root / first

    def database(self) -> list[Path]:
        """Return the file that the gradebook is, none where it is a server's."""
        from sqlalchemy.engine import make_url

        url = make_url(self.folders.db_url)
        return [Path(url.database)] if url.drivername.startswith("sqlite") and url.database else []

    def path(self, step: str, student: str, assignment: str) -> Path:
        """Return a folder of the course; `step` is source, release, submitted, autograded or feedback."""
        directory = getattr(self.folders, f"{step}_directory")
        return Path(os.path.normpath(self.folders.format_path(directory, student, assignment)))

    def part(self, assignment: str, notebook: str) -> Part | None:
        """Return the part of course.toml that this notebook is, or None for a plain nbgrader notebook."""
        return part_of(self.data, assignment, notebook)

    @property
    def cell_seconds(self) -> Seconds:
        """How long a cell of a plain notebook may run, in seconds; see `settings.cell_seconds`."""
        return settings.cell_seconds(self.config)

    @property
    def cell_memory(self) -> int:
        """How many bytes of memory each worker of a plain notebook may use, 0 where nobody has said it."""
        return settings.cell_memory(self.config)

    @property
    def marks(self) -> dict[str, Marks]:
        """Between which words stands what students do not get of a cell: `hidden` tests, and a task's `scheme`."""
        return {
            "hidden": settings.hidden_marks(self.config),
            "scheme": settings.scheme_marks(self.config),
        }

    def gradebook(self) -> Gradebook:
        """Open the gradebook; close it when done. A new one is a file that only its owner reads.

        Raises CourseError where it cannot be read, or was made by an older nbgrader; it is then as it was.
        """
        from nbgrader.api import Gradebook
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError

        find_alembic()
        url = self.folders.db_url
        try:
            for path in self.database():
                if not path.exists():
                    path.touch(0o600)
                    path.chmod(0o660 if self.folders.groupshared else 0o600)
            engine = create_engine(url)
            try:
                lacks = _lacks(engine)
            finally:
                engine.dispose()
            if not lacks:
                return Gradebook(url, self.folders.course_id)
        except (SQLAlchemyError, ImportError, OSError) as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise CourseError(f"the gradebook at {_without_password(url)} cannot be read: {reason}") from None
        raise CourseError(
            f"the gradebook at {_without_password(url)} was made by an older nbgrader (it has no {lacks[0]}): "
            f"back it up, then run `nbgrader db upgrade` in {self.root}"
        )

    def submissions(self, assignment: str) -> dict[str, Path]:
        """Return the submitted folder of every student, in order of their ids."""
        directory = self.folders.submitted_directory
        # No name is taken for an expression or a pattern, whatever characters it has.
        pieces = self.folders.format_path(directory, _STUDENT, assignment).split(_STUDENT)
        before, *after = map(re.escape, pieces)
        pattern = before + "(?P<student>[^/]+)" + "(?P=student)".join(after)
        excluded = self.folders.student_id_exclude.split(",")
        found = {}
        for folder in glob.glob("*".join(map(glob.escape, pieces))):
            match = re.fullmatch(pattern, folder)
            if match and match["student"] not in excluded and os.path.isdir(folder):
                found[match["student"]] = Path(folder)
        return dict(sorted(found.items()))


def part_of(course: Course | None, assignment: str, notebook: str) -> Part | None:
    """Return the part whose notebook this is, or None where course.toml does not know it."""
    if course is None or assignment not in course.assignments:
        return None
    return course.assignments[assignment].part_of_notebook(notebook)


def _lacks(engine: Engine) -> list[str]:
    """Return which tables and columns of nbgrader's a gradebook that has any does not have."""
    from nbgrader.api import Base
    from sqlalchemy import inspect

    inspector = inspect(engine)
    tables = set(inspector.get_table_names())
    ours = Base.metadata.sorted_tables
    if tables.isdisjoint(table.name for table in ours):
        return []  # a new one
    lacks = [table.name for table in ours if table.name not in tables]
    for table in ours:
        if table.name in tables:
            there = {column["name"] for column in inspector.get_columns(table.name)}
            lacks += [f"{table.name}.{column.name}" for column in table.columns if column.name not in there]
    return lacks


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def find_alembic() -> None:
    """Let nbgrader find `alembic`, which it calls by name for a new database, beside this Python."""
    folder = str(Path(sys.executable).parent)
    if shutil.which("alembic") is None and shutil.which("alembic", path=folder):
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


class _Told(logging.Handler):
    """What one of nbgrader's converters logs, as far as an instructor can act on it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.notebook = ""  # the one that it was at last
        self.errors: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.msg == "Converting notebook %s":
            self.notebook = Path(text.removeprefix("Converting notebook ")).name
        # Of a traceback nobody here sees more than the last words, and the sentences about it say nothing else.
        elif record.levelno >= logging.ERROR and not text.startswith(_ABOUT_A_TRACEBACK):
            self.errors[_last_words(text) if text.startswith("Traceback") else " ".join(text.split())] = None

    def __str__(self) -> str:
        told = " ".join(self.errors)
        told = told if len(told) <= _MOST_TOLD else f"{told[:_MOST_TOLD]} ..."
        return f"{self.notebook}: {told}" if told and self.notebook and self.notebook not in told else told


_ABOUT_A_TRACEBACK = "There was an error processing assignment", "Please see the"
_MOST_TOLD = 2000  # characters


def _last_words(traceback: str) -> str:
    """Return what the exception at the end of a traceback says, in one line."""
    lines = traceback.strip().split("\n")
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    said = lines[frames[-1] + 1 :] if frames else lines
    while len(said) > 1 and said[0].startswith(" "):  # the source of the frame, and marks under it
        del said[0]
    return " ".join(" ".join(said).split())


def run_converter(converter: Any, doing: str) -> None:
    """Run one of nbgrader's converters quietly; raises CourseError with what it logged where it fails."""
    from nbgrader.converters.base import NbGraderException
    from traitlets import TraitError

    told, log = _Told(), converter.log
    propagates, log.propagate = log.propagate, False
    handlers, log.handlers = log.handlers, [told]
    level, _ = log.level, log.setLevel(logging.INFO)
    try:
        converter.start()
    except (NbGraderException, TraitError, ImportError) as error:
        raise CourseError(f"{doing}: nbgrader says: {str(told) or ' '.join(str(error).split())}") from None
    finally:
        log.handlers, log.propagate = handlers, propagates
        log.setLevel(level)
