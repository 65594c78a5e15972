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

from grader.book.private import close_to_others
from grader.course import Course, CourseError, Part, parse_size, refuse_strangers
from grader.lean import nbformat  # noqa: F401  (before nbgrader imports jsonschema the slow way)
from grader.whole_files import folder_alike

if TYPE_CHECKING:
    from nbgrader.api import Gradebook
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config


_ANY = "<any>"  # a student or an assignment
_OF_STUDENTS = "submitted", "autograded", "feedback"


@dataclass
class NbCourse:
    """An nbgrader course root with its configuration, and the course data where it has any."""

    root: Path
    config: Config
    folders: CourseDirectory
    data: Course | None  # None for a course made elsewhere, without course.toml

    @classmethod
    def open(cls, root: Path | str) -> NbCourse:
        """Read `root`'s nbgrader_config.py and course.toml; raises CourseError where that is no course's folder."""
        import nbgrader.coursedir
        from jupyter_core.paths import jupyter_config_path
        from traitlets.config import Config
        from traitlets.config.loader import PyFileConfigLoader

        root = Path(root).resolve()
        if not root.is_dir():
            raise CourseError(f"{root}: no such folder; name the course with --course")
        refuse_strangers(root)
        config = Config()
        for folder in (*reversed(jupyter_config_path()), str(root)):
            if (Path(folder) / "nbgrader_config.py").is_file():
                config.merge(PyFileConfigLoader("nbgrader_config.py", path=folder).load_config())
        if not config.CourseDirectory.get("root") or (root / "nbgrader_config.py").exists():
            config.CourseDirectory.root = str(root)
        folders = nbgrader.coursedir.CourseDirectory(config=config)
        data = Course.load(root) if (root / "course.toml").is_file() else None
        course = cls(root, config, folders, data)
        kept = [root / ".grader", *course.database()]
        kept += [path for step in _OF_STUDENTS if (path := course._top(step))]
        close_to_others(kept, group=folders.groupshared)
        return course

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
    def cell_seconds(self) -> float:
        """How long a cell of a plain notebook may run, in seconds."""
        return cell_seconds(self.config)

    @property
    def cell_memory(self) -> int:
        """How many bytes of memory each worker of a plain notebook may use, 0 where nobody has said it."""
        return cell_memory(self.config)

    def gradebook(self) -> Gradebook:
        """Open the gradebook; close it when done. A new one is a file that only its owner reads."""
        from nbgrader.api import Gradebook

        find_alembic()
        for path in self.database():
            if not path.exists():
                path.touch(0o600)
                path.chmod(0o660 if self.folders.groupshared else 0o600)
        return Gradebook(self.folders.db_url, self.folders.course_id)

    def submissions(self, assignment: str) -> dict[str, Path]:
        """Return the submitted folder of every student, in order of their ids."""
        directory = self.folders.submitted_directory
        pattern = self.folders.format_path(directory, "(?P<student>[^/]+)", assignment, escape=True)
        excluded = self.folders.student_id_exclude.split(",")
        found = {}
        for folder in glob.glob(self.folders.format_path(directory, "*", assignment)):
            match = re.fullmatch(pattern, folder)
            if match and match["student"] not in excluded and os.path.isdir(folder):
                found[match["student"]] = Path(folder)
        return dict(sorted(found.items()))


def part_of(course: Course | None, assignment: str, notebook: str) -> Part | None:
    """Return the part whose notebook this is, or None where course.toml does not know it."""
    if course is None or assignment not in course.assignments:
        return None
    return course.assignments[assignment].part_of_notebook(notebook)


def cell_seconds(config: Config) -> float:
    """Return nbgrader's limit on a cell (`Execute.timeout`, 30 s unless it is set), a day where it sets none."""
    return config.Execute.get("timeout", 30) or 24 * 3600


def cell_memory(config: Config) -> int:
    """Return `Examine.memory` in bytes, 0 where it is not set; raises CourseError where it is no size."""
    text = config.Examine.get("memory", "")
    try:
        return parse_size(text) if text else 0
    except (TypeError, ValueError):
        raise CourseError(
            f"nbgrader_config.py: c.Examine.memory is {text!r}; write a number and KiB, MiB or GiB, such as 6GiB"
        ) from None


def find_alembic() -> None:
    """Let nbgrader find `alembic`, which it calls by name for a new database, beside this Python."""
    folder = str(Path(sys.executable).parent)
    if shutil.which("alembic") is None and shutil.which("alembic", path=folder):
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


def run_converter(converter: Any, doing: str) -> None:
    """Run one of nbgrader's converters quietly; raises CourseError with what it logged where it fails."""
    from nbgrader.converters.base import NbGraderException

    class Errors(logging.Handler):
        def __init__(self) -> None:
            super().__init__(logging.ERROR)
            self.lines: list[str] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.lines += record.getMessage().strip().splitlines()[-1:]

    errors = Errors()
    propagates, converter.log.propagate = converter.log.propagate, False
    handlers, converter.log.handlers = converter.log.handlers, [errors]
    try:
        converter.start()
    except NbGraderException as error:
        told = " ".join(dict.fromkeys(errors.lines)) or str(error)
        raise CourseError(f"{doing}: nbgrader says: {told}") from None
    finally:
        converter.log.handlers, converter.log.propagate = handlers, propagates
