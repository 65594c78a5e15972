"""Writes grades as CSV: nbgrader's own table, and the final grade by the weights and thresholds of course.toml."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grader.book.nbgrader_course import NbCourse
from grader.book.results import refresh_late_penalties
from grader.course import Assignment, Course

if TYPE_CHECKING:
    from nbgrader.api import Gradebook


@dataclass(frozen=True)
class Final:
    """One student's result: the fraction of each assignment's points, their weighted sum, and the grade."""

    student: str
    points: dict[str, float]
    fractions: dict[str, float]
    total: float
    grade: str


def export(course_root: Path | str, to: Path | str = "grades.csv") -> list[Path]:
    """Write `to`, the table of `nbgrader export`; return the files written.

    With a course.toml, `<to>-final.csv` beside it holds a line per student: the points of each assignment, the
    weighted sum (0 to 1) and the grade.
    """
    from grader.book.table import CsvTable

    course, to = NbCourse.open(course_root), Path(to)
    gradebook = course.gradebook()
    try:
        for assignment in gradebook.assignments:
            refresh_late_penalties(gradebook, course, assignment.name)
        to.touch(0o600)  # grades are for nobody else on the machine; who has put a file there knows better
        plugin = CsvTable(config=course.config)
        plugin.to = str(to)
        plugin.export(gradebook)
        if course.data is None:
            return [to]
        finals = final_grades(gradebook, course.data)
    finally:
        gradebook.close()
    second = to.with_name(f"{to.stem}-final.csv")
    names = list(course.data.assignments)
    second.touch(0o600)
    with second.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["student_id", *names, "weighted_sum", "grade"])
        for final in finals:
            points = [f"{final.points.get(name, 0.0):g}" for name in names]
            writer.writerow([final.student, *points, f"{final.total:.4f}", final.grade])
    return [to, second]


def final_grades(gradebook: Gradebook, course: Course) -> list[Final]:
    """Return every student's final result, in order of their ids.

    An assignment counts by its points over the points that are no extras, so that extras can lift it above 1;
    the weighted sum is cut at 1. One that is not handed in, or not yet released, counts 0.
    """
    from nbgrader.api import MissingEntry

    finals = []
    for student in sorted(gradebook.students, key=lambda student: student.id):
        points, fractions = {}, {}
        for assignment in course.assignments.values():
            try:
                submission = gradebook.find_submission(assignment.name, student.id)
            except MissingEntry:
                continue
            score = max(0.0, submission.score - submission.late_submission_penalty)
            points[assignment.name] = score
            fractions[assignment.name] = score / (full_points(assignment) or submission.max_score or 1)
        total = sum(course.assignments[name].weight * fraction for name, fraction in fractions.items())
        total = min(1.0, total)
        finals.append(Final(student.id, points, fractions, total, grade_of(total, course.thresholds)))
    return finals


def full_points(assignment: Assignment) -> float:
    """Return the points that make a full grade: all but the extras."""
    return sum(
        points
        for part in assignment.parts.values()
        for name, points in {**part.items, **part.reports}.items()
        if name not in part.extras
    )


def grade_of(total: float, thresholds: dict[str, float]) -> str:
    """Return the best grade whose threshold `total` reaches, the empty string for none."""
    # A sum of weights in binary must not miss a threshold by the last bit.
    reached = [(bound, name) for name, bound in thresholds.items() if total >= bound - 1e-9]
    return max(reached)[1] if reached else ""
