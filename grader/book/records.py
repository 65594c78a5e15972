"""What is kept of every graded submission beside the gradebook, for instructors only: `.grader/<assignment>/`.

A file is complete or absent, whenever the process is killed: it is written aside and renamed into place. Only what
the gradebook names by its run counts as recorded; see `grader.book.ledger`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.course import CourseError
from grader.whole_files import folder_alike, open_alike, write_whole

if TYPE_CHECKING:
    from grader.examine.report import Report

_KEPT, _MODULES = ".grader", "modules.txt"  # no student's record, which is STUDENT.json


@dataclass
class Record:
    """One submission as last graded."""

    student: str
    run: str = ""  # names this result; the empty string where somebody else graded since
    basis: str = ""  # hash of all that the rows and the autograded folder follow from
    graded: str = ""  # when, UTC
    score: float = 0.0
    max_score: float = 0.0
    wall: float = 0.0  # seconds
    memory: int = 0  # bytes
    notes: list[str] = field(default_factory=list)
    for_a_person: list[str] = field(default_factory=list)
    error: str = ""
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)  # by notebook, parts of course.toml only
    keys: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=dict
    )  # by notebook and check; settled only
    digests: dict[str, str] = field(default_factory=dict)  # of the autograded notebooks
    judged: dict[str, dict[str, list[str]]] = field(
        default_factory=dict
    )  # of a plain notebook: notes, unsettled
    whys: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # why each test of a plain notebook failed, by notebook and cell

    def whys_by_cell(self) -> dict[tuple[str, str], str]:
        """Return why each test of a plain notebook failed, by (notebook, cell)."""
        return {(notebook, cell): why for notebook, of in self.whys.items() for cell, why in of.items()}

    def report(self, notebook: str) -> Report | None:
        """Return the report of one notebook, None for a plain one."""
        from grader.examine.report import Report

        data = self.reports.get(notebook)
        return None if data is None else Report.from_json(json.dumps(data))


def results_folder(root: Path, assignment: str) -> Path:
    """Return where the full reports of an assignment lie, hidden checks included: for instructors only."""
    return folder_alike(_kept_in(root) / assignment)


def keep_modules(root: Path, assignment: str, modules: list[str]) -> None:
    """Keep what a zygote imports for the parts of an assignment, as a release has found it out."""
    write_whole(results_folder(root, assignment) / _MODULES, "".join(f"{name}\n" for name in modules))


def kept_modules(root: Path, assignment: str) -> list[str] | None:
    """Return what `keep_modules` kept, None where no release has found out anything; makes no folder."""
    path = root / _KEPT / assignment / _MODULES
    return path.read_text(encoding="utf-8").split() if path.is_file() else None


def _kept_in(root: Path) -> Path:
    """Return the folder of all that is kept beside the gradebook; nobody but its owner may enter it."""
    folder = root / _KEPT
    if not folder.is_dir():
        folder_alike(folder, 0o700)
        (folder / ".gitignore").write_text("*\n")
    return folder


def load(root: Path, assignment: str, student: str) -> Record | None:
    """Return what is kept of a submission, None where it was never graded or what is kept cannot be read."""
    try:
        data = json.loads((results_folder(root, assignment) / f"{student}.json").read_text(encoding="utf-8"))
        return Record(**{"student": student, **data})
    except (OSError, ValueError, TypeError):
        return None  # also what an older version of the grader kept: it is graded again


def save(root: Path, assignment: str, record: Record) -> None:
    """Keep `record` in place of the one before."""
    path = results_folder(root, assignment) / f"{record.student}.json"
    write_whole(path, json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n")


def of_a_past_year(root: Path, assignment: str) -> list[Record]:
    """Return what another course root keeps of an assignment; writes nothing there.

    Raises CourseError where it keeps no record that can be read: what is no record is passed over.
    """
    found = []
    for path in sorted((root / ".grader" / assignment).glob("*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            record = Record(**{"student": path.stem, **data})
            for notebook in record.reports:
                record.report(notebook)
            if record.graded:
                found.append(record)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # another file, or an older version's
    if not found:
        raise CourseError(
            f"{root}: no records of {assignment}; name the course root of an earlier year, with its .grader folder"
        )
    return found


def any_kept(root: Path, assignment: str) -> bool:
    """Return whether any submission of an assignment was graded here before."""
    return any((root / ".grader" / assignment).glob("*.json"))


def keep_report(root: Path, assignment: str, student: str, notebook: str, report: Report) -> None:
    """Keep the report of one notebook, as nbgrader's own command and formgrader grade them.

    The run of the class after it does not take it for its own, and grades that notebook again.
    """
    record = load(root, assignment, student) or Record(student)
    record.run, record.error = "", ""
    record.reports[notebook] = json.loads(report.to_json())
    record.keys.pop(notebook, None)
    save(root, assignment, record)


def log_run(root: Path, assignment: str, student: str, lines: list[str]) -> None:
    """Append what happened to the submission's own log, with the time; a line of a student's stays one line."""
    folder = folder_alike(results_folder(root, assignment) / "logs")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    text = "".join(f"{now} {_one_line(line)}\n" for line in lines)
    with open_alike(folder / f"{student}.log", "a") as file:
        file.write(text)


def _one_line(text: str, limit: int = 1000) -> str:
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return escaped + ("..." if len(text) > limit else "")


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the course's lock; it goes with the process. Raises CourseError while another process holds it."""
    with open_alike(_kept_in(root) / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip() or "another process"
            raise CourseError(f"{root}: {who} is grading here; wait for it to end, or stop it") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} (since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)")
        file.flush()
        yield
