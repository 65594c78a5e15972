"""Writes the results of many submissions to nbgrader's gradebook in one transaction, and knows what it wrote.

nbgrader's own functions ask and commit row by row, and its totals scan the whole table for every submission: time
grows with the square of the class. Here a batch is a handful of statements, each led by a unique index. A table of
our own in the same database names, per submission, the run whose result the other tables hold. It changes in the
same transaction, so a process killed at any instant leaves rows and name in agreement.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nbgrader import api
from sqlalchemy import Column, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import DBAPIError

from grader.course import CourseError

if TYPE_CHECKING:
    from nbgrader.api import Gradebook
    from sqlalchemy.engine import Connection
    from traitlets.config import Config

log = logging.getLogger(__name__)

_RUNS = Table(
    "grader_run",
    MetaData(),
    Column("submission_id", String(32), primary_key=True),
    Column("run", String(32), nullable=False),
)
_AT_ONCE = 400  # rows of one statement; SQLite knows at most 999 parameters in old builds
_PATIENCE = (0.5, 1.0, 2.0, 4.0)  # seconds between tries: a server that restarts, a lock of formgrader's


@dataclass
class Entry:
    """What one submission comes to, before the gradebook knows it."""

    student: str
    run: str
    timestamp: datetime | None  # UTC without a zone; None leaves what the gradebook has
    # By notebook and cell: the automatic score, and whether a person must look. No entry: left as it is.
    scores: dict[str, dict[str, tuple[float | None, bool]]] = field(default_factory=dict)
    comments: dict[str, dict[str, str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """What the gradebook holds of one submission: the run it came from, the score after penalties, the largest."""

    run: str
    score: float
    max_score: float


@dataclass(frozen=True)
class _GradedCell:
    id: str
    notebook: str
    name: str


class Ledger:
    """The rows of one assignment. One thread at a time."""

    def __init__(self, gradebook: Gradebook, assignment: str, config: Config):
        """Read the structure of `assignment`, and make our own table where the database has none yet."""
        self._engine, self._config = gradebook.engine, config
        _RUNS.create(self._engine, checkfirst=True)
        table = api.Assignment.__table__
        with self._engine.connect() as connection:
            self._assignment, self._due = connection.execute(
                select(table.c.id, table.c.duedate).where(table.c.name == assignment)
            ).one()
            self._notebooks = dict(
                connection.execute(
                    select(api.Notebook.name, api.Notebook.id).where(
                        api.Notebook.assignment_id == self._assignment
                    )
                ).all()
            )
            self._graded, self._commented, self.max_score = self._structure(connection)

    def _structure(self, connection: Connection) -> tuple[list[_GradedCell], list[_GradedCell], float]:
        names = {identity: name for name, identity in self._notebooks.items()}
        base, grade, task = (c.__table__ for c in (api.BaseCell, api.GradeCell, api.TaskCell))
        mine = base.c.notebook_id.in_(list(names))
        kinds, largest = {}, 0.0
        for kind, table in (("grade", grade), ("task", task)):
            join = base.join(table, base.c.id == table.c.id)
            rows = connection.execute(
                select(base.c.id, base.c.notebook_id, base.c.name, table.c.max_score)
                .select_from(join)
                .where(mine)
            ).all()
            kinds[kind] = [_GradedCell(row.id, names[row.notebook_id], row.name) for row in rows]
            largest += sum(row.max_score for row in rows)
        solution = api.SolutionCell.__table__
        rows = connection.execute(
            select(base.c.id, base.c.notebook_id, base.c.name)
            .select_from(base.join(solution, base.c.id == solution.c.id))
            .where(mine)
        ).all()
        answers = [_GradedCell(row.id, names[row.notebook_id], row.name) for row in rows]
        return kinds["grade"] + kinds["task"], answers + kinds["task"], largest

    # --- reading ------------------------------------------------------------------------------------------

    def held(self) -> dict[str, Held]:
        """Return what the gradebook holds, by student, of submissions that this grader recorded."""
        submitted, notebook, grade = (
            c.__table__ for c in (api.SubmittedAssignment, api.SubmittedNotebook, api.Grade)
        )
        with self._engine.connect() as connection:
            runs = connection.execute(
                select(submitted.c.id, submitted.c.student_id, _RUNS.c.run)
                .join(_RUNS, _RUNS.c.submission_id == submitted.c.id)
                .where(submitted.c.assignment_id == self._assignment)
            ).all()
            notebooks = connection.execute(
                select(notebook.c.id, notebook.c.assignment_id, notebook.c.late_submission_penalty).where(
                    notebook.c.notebook_id.in_(list(self._notebooks.values()))
                )
            ).all()
            owners = {row.id: row.assignment_id for row in notebooks}
            totals: dict[str, float] = {}
            for row in notebooks:
                totals[row.assignment_id] = totals.get(row.assignment_id, 0.0) - (
                    row.late_submission_penalty or 0.0
                )
            columns = grade.c.notebook_id, grade.c.auto_score, grade.c.manual_score, grade.c.extra_credit
            ids = [cell.id for cell in self._graded]
            for row in connection.execute(select(*columns).where(grade.c.cell_id.in_(ids))):
                totals[owners[row.notebook_id]] += _points(row.auto_score, row.manual_score, row.extra_credit)
        return {
            row.student_id: Held(row.run, max(0.0, totals.get(row.id, 0.0)), self.max_score) for row in runs
        }

    # --- writing ------------------------------------------------------------------------------------------

    def write(self, entries: list[Entry], *, keep: bool = True) -> dict[str, Held]:
        """Write all of `entries` or none, and return what the gradebook then holds of them, by student.

        Without `keep` all is taken back, and what is returned is what the gradebook would hold.
        A database that is away or locked is asked again for some seconds; then raises CourseError.
        """
        for pause in (*_PATIENCE, None):
            try:
                with self._engine.connect() as connection, connection.begin() as transaction:
                    held = self._write(connection, entries)
                    if not keep:
                        transaction.rollback()
                    return held
            except DBAPIError as error:
                reason = " ".join(str(error.orig).split())
                if pause is None or not _may_pass(error):
                    raise CourseError(
                        f"the gradebook at {self._engine.url!r} cannot be written ({reason}); what was recorded "
                        "stays. Correct this and grade again: nothing that is done runs again"
                    ) from None
                log.warning("the gradebook does not answer (%s); trying again in %g s", reason, pause)
                self._engine.dispose()
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _write(self, connection: Connection, entries: list[Entry]) -> dict[str, Held]:
        submissions = self._submissions(connection, entries)
        notebooks = self._submitted_notebooks(connection, submissions)
        marks = self._marks(connection, entries, notebooks)
        self._comments(connection, entries, notebooks)
        from grader.book.late import late_penalty  # with nbgrader's preprocessors: half a second

        held = {}
        for entry in entries:
            submission = submissions[entry.student]
            seconds = self._seconds_late(submission)
            total = 0.0
            for name in self._notebooks:
                row = notebooks[entry.student, name]
                score = marks[row["id"]]
                penalty = late_penalty(self._config, entry.student, score, seconds) if seconds else None
                if penalty != row["late_submission_penalty"]:
                    table = api.SubmittedNotebook.__table__
                    connection.execute(
                        update(table).where(table.c.id == row["id"]).values(late_submission_penalty=penalty)
                    )
                total += score - (penalty or 0.0)
            held[entry.student] = Held(entry.run, max(0.0, total), self.max_score)
        ids = [submissions[entry.student]["id"] for entry in entries]
        connection.execute(_RUNS.delete().where(_RUNS.c.submission_id.in_(ids)))
        runs = [{"submission_id": submissions[entry.student]["id"], "run": entry.run} for entry in entries]
        connection.execute(insert(_RUNS), runs)
        return held

    def _submissions(self, connection: Connection, entries: list[Entry]) -> dict[str, dict[str, Any]]:
        student, table = api.Student.__table__, api.SubmittedAssignment.__table__
        names = [entry.student for entry in entries]
        known = set(connection.execute(select(student.c.id).where(student.c.id.in_(names))).scalars())
        if new := [{"id": name} for name in names if name not in known]:
            connection.execute(insert(student), new)
        query = select(table).where(table.c.assignment_id == self._assignment, table.c.student_id.in_(names))
        found = {row["student_id"]: dict(row) for row in connection.execute(query).mappings()}
        new = []
        for entry in entries:
            row = found.get(entry.student)
            if row is None:
                row = {
                    "id": api.new_uuid(),
                    "assignment_id": self._assignment,
                    "student_id": entry.student,
                    "timestamp": entry.timestamp,
                    "extension": None,
                }
                new.append(row)
                found[entry.student] = row
            elif entry.timestamp is not None and row["timestamp"] != entry.timestamp:
                row["timestamp"] = entry.timestamp
                connection.execute(
                    update(table).where(table.c.id == row["id"]).values(timestamp=entry.timestamp)
                )
        if new:
            connection.execute(insert(table), new)
        return found

    def _submitted_notebooks(
        self, connection: Connection, submissions: dict[str, dict[str, Any]]
    ) -> dict[tuple[str, str], dict[str, Any]]:
        table = api.SubmittedNotebook.__table__
        students = {row["id"]: student for student, row in submissions.items()}
        names = {identity: name for name, identity in self._notebooks.items()}
        query = select(table).where(
            table.c.notebook_id.in_(list(names)), table.c.assignment_id.in_(list(students))
        )
        found = {
            (students[row["assignment_id"]], names[row["notebook_id"]]): dict(row)
            for row in connection.execute(query).mappings()
        }
        new = [
            {
                "id": api.new_uuid(),
                "assignment_id": submission["id"],
                "notebook_id": notebook,
                "flagged": False,
                "late_submission_penalty": None,
            }
            for student, submission in submissions.items()
            for name, notebook in self._notebooks.items()
            if (student, name) not in found
        ]
        if new:
            connection.execute(insert(table), new)
        found |= {(students[row["assignment_id"]], names[row["notebook_id"]]): row for row in new}
        return found

    def _marks(
        self,
        connection: Connection,
        entries: list[Entry],
        notebooks: dict[tuple[str, str], dict[str, Any]],
    ) -> dict[str, float]:
        """Write the scores of every graded cell; return the sum by submitted notebook, points by hand included."""
        table = api.Grade.__table__
        found = _existing(connection, table, self._graded, notebooks)
        new, changed = [], []
        sums = {row["id"]: 0.0 for row in notebooks.values()}
        for entry in entries:
            for cell in self._graded:
                notebook = notebooks[entry.student, cell.notebook]["id"]
                row = found.get((cell.id, notebook))
                fresh = row is None
                if row is None:
                    row = {
                        "id": api.new_uuid(),
                        "cell_id": cell.id,
                        "notebook_id": notebook,
                        "auto_score": None,
                        "manual_score": None,
                        "extra_credit": None,
                        "needs_manual_grade": True,
                    }
                    new.append(row)
                if cell.name in (scores := entry.scores.get(cell.notebook, {})):
                    auto, person = scores[cell.name]
                    person = person or auto is None or row["manual_score"] is not None
                    if (row["auto_score"], row["needs_manual_grade"]) != (auto, person) and not fresh:
                        changed.append(row)
                    row["auto_score"], row["needs_manual_grade"] = auto, person
                sums[notebook] += _points(row["auto_score"], row["manual_score"], row["extra_credit"])
        _save(connection, table, new, changed, ("auto_score", "needs_manual_grade"))
        return sums

    def _comments(
        self,
        connection: Connection,
        entries: list[Entry],
        notebooks: dict[tuple[str, str], dict[str, Any]],
    ) -> None:
        table = api.Comment.__table__
        found = _existing(connection, table, self._commented, notebooks)
        new, changed = [], []
        for entry in entries:
            for cell in self._commented:
                notebook = notebooks[entry.student, cell.notebook]["id"]
                row = found.get((cell.id, notebook))
                comments = entry.comments.get(cell.notebook, {})
                if row is None:
                    row = {
                        "id": api.new_uuid(),
                        "cell_id": cell.id,
                        "notebook_id": notebook,
                        "auto_comment": comments.get(cell.name),
                        "manual_comment": None,
                    }
                    new.append(row)
                elif cell.name in comments and row["auto_comment"] != comments[cell.name]:
                    row["auto_comment"] = comments[cell.name]
                    changed.append(row)
        _save(connection, table, new, changed, ("auto_comment",))

    def _seconds_late(self, submission: dict[str, Any]) -> float:
        if submission["timestamp"] is None or self._due is None:
            return 0.0
        due = self._due + (submission["extension"] or timedelta())
        return max(0.0, (submission["timestamp"] - due).total_seconds())


def _points(auto: float | None, manual: float | None, extra: float | None) -> float:
    given = auto if manual is None else manual
    return 0.0 if given is None else given + (extra or 0.0)


def _existing(
    connection: Connection,
    table: Table,
    cells: Iterable[_GradedCell],
    notebooks: dict[tuple[str, str], dict[str, Any]],
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows of `table` by cell and submitted notebook."""
    found = {}
    ids = [cell.id for cell in cells]
    wanted = [row["id"] for row in notebooks.values()]
    # The unique index of both tables begins with the cell.
    for some in _chunks(ids):
        query = select(table).where(table.c.cell_id.in_(some), table.c.notebook_id.in_(wanted))
        for row in connection.execute(query).mappings():
            found[row["cell_id"], row["notebook_id"]] = dict(row)
    return found


def _chunks(values: list[Any]) -> Iterable[list[Any]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


def _save(
    connection: Connection,
    table: Table,
    new: list[dict[str, Any]],
    changed: list[dict[str, Any]],
    columns: tuple[str, ...],
) -> None:
    if new:
        connection.execute(insert(table), new)
    for row in changed:
        values = {name: row[name] for name in columns}
        connection.execute(update(table).where(table.c.id == row["id"]).values(**values))


def _may_pass(error: DBAPIError) -> bool:
    """Return whether the same statement may succeed a little later."""
    kinds = ("OperationalError", "InterfaceError", "AdminShutdown", "InternalError")
    return error.connection_invalidated or type(error).__name__ in kinds
