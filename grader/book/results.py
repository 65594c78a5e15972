"""What grading came to: per submission, per class, and with the late penalties of now."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.book import records
from grader.book.nbgrader_course import NbCourse
from grader.text import plain

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

    from grader.examine.report import Report

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """What the gradebook says of one graded cell of one submission; `score` is what counts, by hand included."""

    score: float
    max_score: float
    auto_score: float | None
    manual_score: float | None
    needs_manual_grade: bool


@dataclass
class Graded:
    """What grading one submission came to."""

    student: str
    score: float = 0.0
    max_score: float = 0.0
    reports: dict[str, Report] = field(default_factory=dict)  # by notebook, for parts of course.toml
    notes: list[str] = field(default_factory=list)
    unchanged: bool = False  # nothing differed from last time, so nothing ran
    for_a_person: list[str] = field(default_factory=list)  # ids that no check could settle
    error: str = ""  # the submission could not be graded at all, and why
    wall: float = 0.0  # seconds that rebuilding and judging took
    memory: int = 0  # bytes, of the largest job; 0 where nothing ran or nobody could measure it
    cells: dict[tuple[str, str], Score] = field(
        default_factory=dict
    )  # by (notebook, cell), from the gradebook
    name: str = ""  # first and last, as the gradebook has it from the roster; empty where it has none
    whys: dict[tuple[str, str], str] = field(
        default_factory=dict
    )  # why a test of a plain notebook failed, by (notebook, cell)

    @property
    def shown(self) -> str:
        """The name with the id behind it, or the id where there is no name."""
        return f"{self.name} ({self.student})" if self.name else self.student

    def summary(self) -> str:
        """Return one line that says what happened."""
        if self.error:
            return self.error
        failed = [c for report in self.reports.values() for c in report.checks if c.verdict != "pass"]
        whys = dict.fromkeys(f"{check.item}: {check.why}" for check in failed)
        told = [*whys, *self.notes]
        if not told:
            return "every check passed" if self.reports else ""
        return told[0] + (f" (and {len(told) - 1} more)" if len(told) > 1 else "")


def class_results(course_root: Path | str, assignment: str, *, follow: bool = True) -> list[Graded]:
    """Return what grading came to for every student with a submission of `assignment`, by their ids.

    Scores are those of the gradebook now, points given by hand and late penalties included; verdicts, notes and
    what waits for a person are those of the last run. A submission that was never graded has an `error`.
    Runs nothing. A deadline that was moved in course.toml is taken over first, unless `follow` is False.
    """
    course = NbCourse.open(course_root)
    gradebook = course.gradebook()
    try:
        if follow:
            follow_deadline(gradebook, course, assignment)
        recorded = _class_cells(gradebook, assignment)
        totals = _class_totals(gradebook, assignment)
        names = class_names(gradebook)
    finally:
        gradebook.close()
    results = []
    for student in sorted(course.submissions(assignment).keys() | totals.keys()):
        score, max_score = totals.get(student, (0.0, 0.0))
        graded = Graded(
            student, score, max_score, cells=recorded.get(student, {}), name=names.get(student, "")
        )
        if record := records.load(course.root, assignment, student):
            reports = {name: record.report(name) for name in record.reports}
            graded.reports = {name: report for name, report in reports.items() if report is not None}
            graded.notes, graded.for_a_person = record.notes, record.for_a_person
            graded.wall, graded.memory, graded.error = record.wall, record.memory, record.error
            graded.whys = record.whys_by_cell()
        elif student not in totals:
            graded.error = "not graded yet; run grader grade"
        results.append(graded)
    return results


def absent_students(course_root: Path | str, results: Iterable[Graded]) -> list[str]:
    """Return whom the gradebook knows and who is not among `results`: names with ids behind them, sorted."""
    from nbgrader.api import Student

    there = {result.student for result in results}
    gradebook = NbCourse.open(course_root).gradebook()
    try:
        names = class_names(gradebook)
        ids = [student for (student,) in gradebook.db.query(Student.id) if student not in there]
    finally:
        gradebook.close()
    return sorted(f"{names[student]} ({student})" if student in names else student for student in ids)


def _class_cells(gradebook: Gradebook, assignment: str) -> dict[str, dict[tuple[str, str], Score]]:
    import nbgrader.api

    api: Any = nbgrader.api  # SQLAlchemy's mapped columns, which it does not annotate
    columns = (
        *(api.SubmittedAssignment.student_id, api.Notebook.name, api.BaseCell.name),
        *(api.Grade.score, api.Grade.max_score, api.Grade.auto_score, api.Grade.manual_score),
        api.Grade.needs_manual_grade,
    )
    rows = (
        gradebook.db.query(*columns)
        .select_from(api.Grade)
        .join(api.SubmittedNotebook, api.Grade.notebook_id == api.SubmittedNotebook.id)
        .join(api.SubmittedAssignment, api.SubmittedNotebook.assignment_id == api.SubmittedAssignment.id)
        .join(api.Assignment, api.SubmittedAssignment.assignment_id == api.Assignment.id)
        .join(api.BaseCell, api.Grade.cell_id == api.BaseCell.id)
        .join(api.Notebook, api.BaseCell.notebook_id == api.Notebook.id)
        .filter(api.Assignment.name == assignment)
    )
    found: dict[str, dict[tuple[str, str], Score]] = {}
    for student, notebook, name, *values in rows:
        found.setdefault(student, {})[notebook, name] = Score(*values)
    return found


def class_names(gradebook: Gradebook) -> dict[str, str]:
    """Return the name, first and last, of every student that has one, by id: the roster's, one line each."""
    from nbgrader.api import Student

    table: Any = Student
    rows = gradebook.db.query(table.id, table.first_name, table.last_name)
    names = {student: plain(f"{first or ''} {last or ''}".strip(), 200) for student, first, last in rows}
    return {student: name for student, name in names.items() if name}


def _class_totals(gradebook: Gradebook, assignment: str) -> dict[str, tuple[float, float]]:
    """Return score after the late penalty, and the largest possible score, by student."""
    import nbgrader.api

    api: Any = nbgrader.api  # SQLAlchemy's mapped columns, which it does not annotate
    table = api.SubmittedAssignment
    rows = (
        gradebook.db.query(table.student_id, table.score, table.late_submission_penalty, table.max_score)
        .join(api.Assignment, table.assignment_id == api.Assignment.id)
        .filter(api.Assignment.name == assignment)
    )
    return {student: (max(0.0, score - penalty), best) for student, score, penalty, best in rows}


def follow_deadline(gradebook: Gradebook, course: NbCourse, assignment: str) -> None:
    """Give the gradebook the deadline of course.toml, where it has another one, and all penalties that follow.

    What a student has more time than others stays. An assignment that course.toml or the gradebook does not know is
    left as it is.
    """
    if _take_deadline(gradebook, course, assignment):
        _set_late_penalties(gradebook, course, assignment)


def refresh_late_penalties(gradebook: Gradebook, course: NbCourse, assignment: str) -> None:
    """Take the penalty of every late submission from its score of now: points given by hand count too.

    The deadline is that of course.toml; see `follow_deadline`.
    """
    _take_deadline(gradebook, course, assignment)
    _set_late_penalties(gradebook, course, assignment)


def deadline_moved(gradebook: Gradebook, course: NbCourse, assignment: str) -> bool:
    """Return whether course.toml has another deadline than the gradebook, which nothing has taken over yet."""
    return _moved_deadline(gradebook, course, assignment) is not None


def _moved_deadline(gradebook: Gradebook, course: NbCourse, assignment: str) -> tuple[Any, Any] | None:
    """Return the gradebook's assignment and the deadline of course.toml, where that is another one."""
    from nbgrader.api import MissingEntry

    known = course.data.assignments.get(assignment) if course.data else None
    try:
        recorded: Any = gradebook.find_assignment(assignment) if known else None
    except MissingEntry:
        return None
    if known is None:
        return None
    due = (
        known.deadline.astimezone(UTC).replace(tzinfo=None) if known.deadline else None
    )  # as nbgrader keeps it
    return None if recorded.duedate == due else (recorded, due)


def _take_deadline(gradebook: Gradebook, course: NbCourse, assignment: str) -> bool:
    """Write the deadline of course.toml to the gradebook; return whether another one stood there."""
    if (found := _moved_deadline(gradebook, course, assignment)) is None:
        return False
    recorded, due = found
    if recorded.duedate or recorded.submissions:  # not where it is released for the first time
        old, new = (
            f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "none" for moment in (recorded.duedate, due)
        )
        log.warning(
            "the deadline of %s is %s, by course.toml; it was %s: penalties follow", assignment, new, old
        )
    recorded.duedate = due
    gradebook.db.commit()
    return True


def _set_late_penalties(gradebook: Gradebook, course: NbCourse, assignment: str) -> None:
    for submission in gradebook.assignment_submissions(assignment):
        _set_late_penalty(gradebook, course, submission)
    gradebook.db.rollback()  # ends the transaction that reading began: others may write meanwhile


def _set_late_penalty(gradebook: Gradebook, course: NbCourse, submission: Any) -> None:
    # nbgrader's own sum fails where a student has more time than a deadline that nobody has.
    late = submission.total_seconds_late if submission.assignment.duedate else 0.0
    if not late and not any(notebook.late_submission_penalty for notebook in submission.notebooks):
        return
    from grader.book.late import late_penalty

    for notebook in submission.notebooks:
        gradebook.db.refresh(notebook)
        student, penalty = submission.student.id, None
        if late > 0:
            penalty = late_penalty(course.config, student, notebook.score, late)
        notebook.late_submission_penalty = penalty
    gradebook.db.commit()
