"""Writes the feedback that students read: their notebooks as HTML, with scores, verdicts and comments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nbgrader.preprocessors import NbGraderPreprocessor

from grader import safe_html, verdicts
from grader.course import CourseError
from grader.nbcourse import NbCourse, run_converter
from grader.results import refresh_late_penalties


class StudentView(NbGraderPreprocessor):
    """Marks what still waits for a person, and leaves out the outputs that only carry a score to nbgrader."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        from nbgrader.api import Gradebook

        names = resources["nbgrader"]
        with Gradebook(names["db_url"]) as gradebook:
            submitted = gradebook.find_submission_notebook(
                names["notebook"], names["assignment"], names["student"]
            )
            waiting = {grade.name for grade in submitted.grades if grade.needs_manual_grade}
        names["waiting"] = bool(waiting)
        for cell in nb.cells:
            role = cell.metadata.get("nbgrader", {})
            if role.get("grade_id") in waiting:
                role["waiting"] = True
            if cell.get("outputs") and verdicts.CARRIER in cell.outputs[0].get("metadata", {}):
                del cell.outputs[1:]
        return nb, resources


def feedback(
    course_root: Path | str,
    assignment: str,
    *,
    students: Iterable[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Write feedback for every graded submission of `assignment`; return the HTML files by student.

    nbgrader's own `generate_feedback`, sanitized: what a student wrote cannot run a script in the browser of
    whoever opens it. Hidden checks show as numbers. `progress` is called with each student, how many are done
    and how many there are. Raises CourseError where nothing was graded.
    """
    from nbgrader.converters import GenerateFeedback
    from nbgrader.preprocessors import GetGrades

    course = NbCourse.open(course_root)
    graded = sorted(
        student
        for student in course.submissions(assignment)
        if course.path("autograded", student, assignment).is_dir()
    )
    wanted = graded if students is None else sorted(students)
    if unknown := set(wanted) - set(graded):
        raise CourseError(f"{assignment} of {', '.join(sorted(unknown))} is not graded yet; grade it first")
    if not wanted:
        raise CourseError(f"no graded submission of {assignment} in {course.root}; run grader grade first")
    if course.data is None:
        # A course made elsewhere knows nothing of ours; its students' notebooks are no safer.
        from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor

        from grader.nbgrader_plugin import HideHiddenTests

        safe_html.configure(course.config)
        course.config.GenerateFeedback.preprocessors = [
            GetGrades,
            HideHiddenTests,
            StudentView,
            CSSHTMLHeaderPreprocessor,
        ]
    gradebook = course.gradebook()
    refresh_late_penalties(gradebook, course, assignment)
    gradebook.close()
    course.folders.assignment_id = assignment
    pages = {}
    for done, student in enumerate(wanted, 1):
        course.folders.student_id = student
        converter = GenerateFeedback(coursedir=course.folders, config=course.config)
        converter.force = True
        run_converter(converter, f"feedback for {student}")
        pages[student] = sorted(course.path("feedback", student, assignment).glob("*.html"))
        if progress:
            progress(student, done, len(wanted))
    return pages
