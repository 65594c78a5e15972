"""Writes the feedback that students read: their notebooks as HTML, with scores, verdicts and comments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from grader.book import records
from grader.book.nbgrader_course import NbCourse, run_converter
from grader.book.results import refresh_late_penalties
from grader.course import CourseError
from grader.safe.nbconvert import configure as show_clean_html

log = logging.getLogger(__name__)


def feedback(
    course_root: Path | str,
    assignment: str,
    *,
    students: Iterable[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    failed: Callable[[str], None] = log.warning,
) -> dict[str, list[Path]]:
    """Write feedback for every graded submission of `assignment`; return the HTML files by student.

    nbgrader's own `generate_feedback`, sanitized: what a student wrote cannot run a script in the browser of
    whoever opens it. Hidden checks show as numbers. `progress` is called with each student, how many are done
    and how many there are. A notebook of which no page can be made keeps nobody else from theirs: `failed` is
    called with a sentence on each. Raises CourseError where nothing was graded.
    """
    from nbgrader.api import MissingEntry

    course = NbCourse.open(course_root)
    submitted = course.submissions(assignment)
    graded = sorted(
        student for student in submitted if course.path("autograded", student, assignment).is_dir()
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
    try:
        refresh_late_penalties(gradebook, course, assignment)
        names = sorted(notebook.name for notebook in gradebook.find_assignment(assignment).notebooks)
    except MissingEntry:
        raise CourseError(
            f"{assignment} is not in the gradebook of {course.root}; release it first"
        ) from None
    finally:
        gradebook.close()
    course.choose(assignment)
    course.close_step("feedback")
    for student in sorted(submitted.keys() - set(graded)) if students is None else ():
        failed(f"{student}: not graded yet; run grader grade first")
    pages: dict[str, list[Path]] = {}
    for done, student in enumerate(wanted, 1):
        for problem in _write_pages(course, student, assignment, names):
            failed(f"{student}: {problem}")
        pages[student] = sorted(course.path("feedback", student, assignment).glob("*.html"))
        if progress:
            progress(student, done, len(wanted))
    return pages


def _write_pages(course: NbCourse, student: str, assignment: str, names: list[str]) -> list[str]:
    """Write the pages of one submission; return a sentence for each of the notebooks `names` that got none.

    Of what one notebook or one submission holds, nothing must stop the pages of the others.
    """
    graded, target = (course.path(step, student, assignment) for step in ("autograded", "feedback"))
    found = [name for name in names if (graded / f"{name}.ipynb").is_file()]
    record = records.load(course.root, assignment, student)
    problems = []
    for name in set(names).difference(found):
        (target / f"{name}.html").unlink(missing_ok=True)  # of what was handed in earlier
        said = [note for note in (record.notes if record else ()) if note.startswith(f"{name}.ipynb was not")]
        if said != [f"{name}.ipynb was not submitted"]:  # who leaves one out lacks no page
            problems.append(said[0] if said else f"{graded / name}.ipynb is missing; grade it again")
    course.folders.student_id = student
    if found and _convert(course, "*"):  # which also took away what had been written
        for name in found:
            if problem := _convert(course, name):
                problems.append(f"no page of {name}: {problem}")
    return sorted(problems)


def _convert(course: NbCourse, notebook: str) -> str:
    """Write the page of a notebook, or of all, of the submission that is set; return why not where that fails."""
    from nbgrader.converters import GenerateFeedback

    course.folders.notebook_id = notebook
    converter = GenerateFeedback(coursedir=course.folders, config=course.config)
    converter.force = True
    try:
        run_converter(converter, "feedback")
    except Exception as error:  # whatever a submission can bring about
        return str(error) if isinstance(error, CourseError) else f"{type(error).__name__}: {error}"
    return ""
