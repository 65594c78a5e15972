"""A plain nbgrader course of one notebook, `lab`, with secrets planted in it, and what students hand in for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from grader.book.nbgrader_course import NbCourse
from grader.lean import nbformat
from grader.tests.attacks.watch import Canaries

ASSIGNMENT = "hw"
NOTEBOOK = "lab"
FULL = 7.0  # points of the tests
SECONDS = 8  # that one cell may take

HONEST = {
    "mean": "def mean(values):\n    return sum(values) / len(values) if values else 0.0",
    "count": "def count(words):\n    return {word: list(words).count(word) for word in words}",
}
_CELLS = (  # id, points, source; the ids of tests begin with test_
    (
        "",
        None,
        "import json\nimport math\nimport wave  # which only this notebook needs\n\nimport numpy as np",
    ),
    (
        "mean",
        None,
        'def mean(values):\n    """Return the arithmetic mean, 0 of no values."""\n    ### BEGIN SOLUTION\n'
        "    note = 'SOLUTION-CANARY'\n    return sum(values) / len(values) if values else 0.0\n"
        "    ### END SOLUTION",
    ),
    (
        "test_mean",
        2,
        "np.testing.assert_allclose(mean([1.0, 2.0, 6.0]), 3.0)\nassert np.allclose(mean([4.0]), 4.0)",
    ),
    (
        "test_mean_edges",
        2,
        "assert mean([2.0, 2.0]) == 2.0\n### BEGIN HIDDEN TESTS\nnote = 'HIDDEN-CANARY'\n"
        "assert np.allclose(mean([1e6, 3e6]), 2e6)\nassert mean([]) == 0.0\n### END HIDDEN TESTS",
    ),
    (
        "count",
        None,
        'def count(words):\n    """Return how often each word occurs, as a dictionary."""\n'
        "    ### BEGIN SOLUTION\n    return {word: list(words).count(word) for word in words}\n"
        "    ### END SOLUTION",
    ),
    (
        "test_count",
        3,
        "points = 0\nwanted = {'a': 2, 'b': 1}\npoints += count('a b a'.split()) == wanted\n"
        "points += json.dumps(count(['x'])) == '{\"x\": 1}'\n### BEGIN HIDDEN TESTS\n"
        "points += count(['INPUT-CANARY']) == {'INPUT-CANARY': 1}\n### END HIDDEN TESTS\nint(points)",
    ),
)


def planted(text: str, canaries: Canaries) -> str:
    """Return `text` with its marks, such as HIDDEN-CANARY, replaced by secrets."""
    return re.sub(r"([A-Z]+)-CANARY", lambda mark: canaries.plant(mark[1].lower()), text)


def source_notebook(canaries: Canaries) -> nbformat.NotebookNode:
    """Return the instructor's notebook."""
    cells = [nbformat.v4.new_markdown_cell("# Lab\n\nWrite two functions.", id="title")]
    for name, points, text in _CELLS:
        text = planted(text, canaries)
        if not name:
            cells.append(nbformat.v4.new_code_cell(text, id="imports"))
            continue
        metadata = _metadata(name, points)
        cells.append(
            nbformat.v4.new_code_cell(text, id=name.replace("_", "-"), metadata={"nbgrader": metadata})
        )
    essay = {**_metadata("essay", 2), "solution": True, "locked": False}
    cells.append(nbformat.v4.new_markdown_cell("What?", id="essay", metadata={"nbgrader": essay}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _metadata(name: str, points: float | None) -> dict[str, Any]:
    metadata = {"schema_version": 3, "grade": points is not None, "solution": points is None}
    metadata |= {"locked": points is not None, "task": False, "grade_id": name}
    return metadata if points is None else {**metadata, "points": points}


def build(root: Path, canaries: Canaries) -> None:
    """Write the course to `root` and release its assignment."""
    from grader.steps.release import release

    write_source(root, canaries)
    config = f"c = get_config()\nc.CourseDirectory.course_id = 'lab'\nc.Execute.timeout = {SECONDS}\n"
    (root / "nbgrader_config.py").write_text(config)
    release(root, ASSIGNMENT)


def write_source(root: Path, canaries: Canaries) -> None:
    """Write the instructor's notebook into the course at `root`."""
    folder = root / "source" / ASSIGNMENT
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(source_notebook(canaries), folder / f"{NOTEBOOK}.ipynb")


def released(root: Path) -> dict[str, Any]:
    """Return the notebook that students get, as JSON."""
    return json.loads((root / "release" / ASSIGNMENT / f"{NOTEBOOK}.ipynb").read_text(encoding="utf-8"))


def answered(root: Path, answers: dict[str, str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the released notebook with `answers` in it, and its cells by id.

    The answer `own` becomes a cell after the imports.
    """
    notebook = released(root)
    cells = {
        cell["metadata"]["nbgrader"]["grade_id"]: cell
        for cell in notebook["cells"]
        if "nbgrader" in cell["metadata"]
    }
    for name, text in answers.items():
        if name != "own":
            cells[name]["source"] = text
    if "own" in answers:
        own = {"cell_type": "code", "id": "own-cell", "metadata": {}, "outputs": [], "execution_count": None}
        notebook["cells"].insert(2, {**own, "source": answers["own"]})
    return notebook, cells


def honest(root: Path, canaries: Canaries) -> str:
    """Return what a neighbour hands in: right answers, and a text that is nobody else's business."""
    answers = {**HONEST, "own": planted("mine = 'NEIGHBOUR-CANARY'", canaries)}
    return json.dumps(answered(root, answers)[0])


def submit(root: Path, student: str, notebook: str) -> Path:
    """Put `notebook` into the course as handed in by `student`; return its path."""
    folder = root / "submitted" / student / ASSIGNMENT
    folder.mkdir(parents=True)
    path = folder / f"{NOTEBOOK}.ipynb"
    path.write_text(notebook, encoding="utf-8")
    return path


def scores(root: Path) -> dict[str, float]:
    """Return what each student has for the tests of the lab, points given by hand included."""
    gradebook = NbCourse.open(root).gradebook()
    try:
        return {
            submission.student.id: sum(
                grade.score
                for grade in submission.grades
                if grade.cell.name.startswith("test_") and grade.score is not None
            )
            for submission in gradebook.notebook_submissions(NOTEBOOK, ASSIGNMENT)
        }
    finally:
        gradebook.close()
