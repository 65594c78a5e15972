"""What nbgrader itself gives the instructor's own answers: what this grader must not fall short of."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from grader.book.nbgrader_course import NbCourse
from grader.book.points import automatic_points
from grader.lean import nbformat
from grader.notebooks.template import grade_id
from grader.tree import copy_file, regular_files


def stock_points(course: NbCourse, assignment: str, notebook: str) -> dict[str, float]:
    """Return the points of each test of the instructor's notebook, as `nbgrader autograde` would find them.

    Runs it in a kernel, with the rights of whoever calls this; the files beside it are copied first.
    """
    from nbgrader.preprocessors import Execute
    from nbgrader.utils import is_grade, is_solution

    source = course.path("source", ".", assignment)
    nb = nbformat.read(source / f"{notebook}.ipynb", as_version=4)
    log = logging.getLogger(__name__)
    with tempfile.TemporaryDirectory() as folder:
        for name in regular_files(source, [*course.folders.ignore, "*.ipynb"], []):
            copy_file(source / name, Path(folder) / name)
        execute = Execute(config=course.config, kernel_name="python3", log=log)
        nb, _ = execute.preprocess(nb, {"metadata": {"path": folder}})
    tests = (
        cell for cell in nb.cells if is_grade(cell) and not is_solution(cell) and cell.cell_type == "code"
    )
    return {grade_id(cell): automatic_points(cell, log)[0] or 0.0 for cell in tests}
