"""Writes the feedback that students read: their notebooks as HTML, with scores, verdicts and comments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from grader.book.nbgrader_course import NbCourse, run_converter
from grader.book.results import refresh_late_penalties
from grader.course import CourseError
from grader.safe.nbconvert import configure as show_clean_html


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
        from grader.book.nbgrader_plugin import feedback_preprocessors

        show_clean_html(course.config)
        course.config.GenerateFeedback.preprocessors = feedback_preprocessors()
    gradebook = course.gradebook()
    refresh_late_penalties(gradebook, course, assignment)
    gradebook.close()
    course.choose(assignment)
    course.close_step("feedback")
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
