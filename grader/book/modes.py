"""Where the cells of a course's plain notebooks run: found out once, and kept beside the gradebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from grader.book.nbgrader_course import NbCourse
from grader.book.records import results_folder
from grader.examine.place import Place
from grader.notebooks.decide import prepare
from grader.notebooks.run import Prepared
from grader.notebooks.template import Template

if TYPE_CHECKING:
    from grader.notebooks.limits import Seconds


def prepared_notebook(
    course: NbCourse,
    assignment: str,
    template: Template,
    place: Callable[[], Place],
    wall: Seconds,
    say: Callable[[str], None] = print,
) -> Prepared:
    """Return what grading a notebook of this course needs besides the submission, as `prepare` does."""
    folder, modes = course.path("source", ".", assignment), results_folder(course.root, assignment) / "modes"
    return prepare(template, folder, modes, course.folders.ignore, place, wall, say, course.cell_memory)
