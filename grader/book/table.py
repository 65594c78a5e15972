"""The table of all scores, for `nbgrader export` too."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbgrader.plugins import CsvExportPlugin

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

COLUMNS = (
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("raw_score", "late_submission_penalty", "score", "max_score"),
)


class CsvTable(CsvExportPlugin):
    """nbgrader's CSV, with quotes: a comma, a quote or a line break in a name stays within its field."""

    def export(self, gradebook: Gradebook) -> None:
        """Write a line per assignment and student to the file `to`, all of them or those that are configured."""
        # An id may be configured as a number.
        wanted, whose = ({str(name) for name in names} for names in (self.assignment, self.student))
        with Path(self.to or "grades.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for assignment in gradebook.assignments:
                for student in gradebook.students:
                    if assignment.name in (wanted or {assignment.name}) and student.id in (
                        whose or {student.id}
                    ):
                        row = _row(gradebook, assignment, student)
                        writer.writerow("" if row[name] is None else str(row[name]) for name in COLUMNS)


def _row(gradebook: Gradebook, assignment: Any, student: Any) -> dict[str, Any]:
    from nbgrader.api import MissingEntry

    row = {
        **{"assignment": assignment.name, "duedate": assignment.duedate, "max_score": assignment.max_score},
        **{"student_id": student.id, "last_name": student.last_name, "first_name": student.first_name},
        "email": student.email,
    }
    try:
        submission: Any = gradebook.find_submission(assignment.name, student.id)
    except MissingEntry:
        return {**row, "timestamp": "", "raw_score": 0.0, "late_submission_penalty": 0.0, "score": 0.0}
    penalty = submission.late_submission_penalty
    return {
        **row,
        "timestamp": submission.timestamp,
        "raw_score": submission.score,
        "late_submission_penalty": penalty,
        "score": max(0.0, submission.score - penalty),
    }
