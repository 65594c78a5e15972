"""A class with plain notebooks: what one notebook or one test brings about stays there, and is said."""

import base64
import io
import json
import logging

import pytest
from PIL import Image

from grader.book.changes import changes
from grader.book.nbgrader_course import NbCourse, run_converter
from grader.book.points import automatic_points
from grader.book.results import class_results
from grader.lean import nbformat
from grader.notebooks.template import grade_id
from grader.pages.class_page import summary, unread_cells
from grader.steps.feedback import feedback
from grader.steps.grade import grade

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def picture():
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "PNG")
    return file.getvalue()


FIGURE = {"fig.png": {"image/png": base64.b64encode(picture()).decode()}}


def cell(name, source, *, attachments=None, **flags):
    roles = {"grade": False, "solution": False, "locked": False, "task": False, **flags}
    code = not (attachments or "text" in name)
    new = nbformat.v4.new_code_cell if code else nbformat.v4.new_markdown_cell
    made = new(
        source,
        id=name.replace(" ", "-"),
        metadata={"nbgrader": {"schema_version": 3, "grade_id": name, **roles}},
    )
    if attachments:
        made.attachments = nbformat.from_dict(attachments)
    return made


@pytest.fixture
def course(tmp_path):
    """Return a function that makes a course, of notebooks by name, and one that hands in for a student."""
    from nbgrader.converters import GenerateAssignment

    root = tmp_path / "course"

    def make(**notebooks):
        (root / "source" / "ps1").mkdir(parents=True)
        (root / "nbgrader_config.py").write_text("c = get_config()\n")
        for name, cells in notebooks.items():
            notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
            nbformat.write(notebook, root / "source" / "ps1" / f"{name}.ipynb")
        opened = NbCourse.open(root)
        opened.folders.assignment_id = "ps1"
        opened.gradebook().close()
        run_converter(GenerateAssignment(coursedir=opened.folders, config=opened.config), "releasing")
        return root

    def hand_in(student, **renamed):
        folder = root / "submitted" / student / "ps1"
        folder.mkdir(parents=True)
        for path in (root / "source" / "ps1").glob("*.ipynb"):
            (folder / renamed.get(path.stem, path.name)).write_bytes(path.read_bytes())
        return folder

    return make, hand_in


ANSWER = cell("a", "### BEGIN SOLUTION\ndef f():\n    return 1\n### END SOLUTION", solution=True)


def test_one_submission_or_one_notebook_keeps_nobody_else_from_their_pages(course, one_examiner):
    make, hand_in = course
    test = cell("t", "assert f() == 1", grade=True, locked=True, points=1)
    root = make(p1=[ANSWER, test], p2=[ANSWER, test])
    for student in ("alice", "bob", "carl", "dora", "emil", "fay"):
        hand_in(student)
    for path in (root / "submitted" / "bob" / "ps1").glob("*.ipynb"):
        path.rename(path.with_name(f"{path.stem}-Copy1.ipynb"))
    (root / "submitted" / "fay" / "ps1" / "p2.ipynb").unlink()
    grade(root, "ps1")
    hand_in("late")

    def damage(student, notebook, text):
        path = root / "autograded" / student / "ps1" / f"{notebook}.ipynb"
        path.chmod(0o644)
        path.write_text(text)

    damage("carl", "p1", '{"cells": [')
    damage("dora", "p2", "")
    damage("emil", "p1", json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": 7}))
    stale = root / "feedback" / "bob" / "ps1" / "p1.html"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier run")
    told = []
    pages = feedback(root, "ps1", failed=told.append)
    found = {student: [path.stem for path in paths] for student, paths in pages.items()}
    assert found == {
        **{"alice": ["p1", "p2"], "bob": [], "carl": ["p2"], "dora": ["p1"], "emil": ["p2"], "fay": ["p1"]},
    }
    text = "\n".join(told)
    assert "bob: p1.ipynb was not submitted; is it p1-Copy1.ipynb? Rename it and grade again" in text
    assert "carl: no page of p1: " in text
    assert "dora: no page of p2: " in text
    assert "emil: no page of p1: " in text
    assert "late: not graded yet" in text
    assert len(told) == 6  # and nothing of fay, who left one out


# jupyter/nbgrader#1353 and #1090
def test_a_test_that_shows_more_than_its_points_waits_for_a_person_and_nothing_else_does(
    course, one_examiner, capsys
):
    make, hand_in = course
    more = cell("more", "5 * f()", grade=True, locked=True, points=1)
    part = cell("part", "0.5 * f()", grade=True, locked=True, points=1)
    root = make(p1=[ANSWER, more, part], p2=[ANSWER, part])
    hand_in("alice")
    (result,) = grade(root, "ps1")
    assert not result.error
    assert (result.score, result.for_a_person) == (1.0, ["more"])
    assert (
        "p1: more shows 5, which is no number of points from 0 to 1; give its points by hand" in result.notes
    )
    # Said where the reference runs: when it is released.
    assert "p1: more shows 5, and is worth 1" in capsys.readouterr().out
    gradebook = NbCourse.open(root).gradebook()
    row = gradebook.find_grade("more", "p1", "ps1", "alice")
    assert (row.auto_score, row.needs_manual_grade) == (None, True)
    gradebook.close()
    assert len(feedback(root, "ps1")["alice"]) == 2
    assert unread_cells(class_results(root, "ps1")) == [("p1", "more", 1)]


@pytest.mark.parametrize(
    ("shown", "points", "wrong"),
    [
        ("1", 1.0, ""),
        ("0.5", 0.5, ""),
        ("None of it", 1.0, ""),
        ("1.0001", None, "shows 1.0001, which is no number of points from 0 to 1"),
        ("inf", None, "shows inf,"),
        ("1e400", None, "shows 1e400,"),
        ("", None, "shows a value without a text,"),
    ],
)
def test_what_nbgrader_gives_up_on_has_no_points_and_a_sentence(shown, points, wrong):
    test = cell("t", "f()", grade=True, locked=True, points=1)
    test.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": shown})]
    found, told = automatic_points(test, logging.getLogger())
    assert found == points
    assert told.startswith(wrong) if wrong else not told


def test_nbgraders_own_autograde_leaves_such_a_test_to_a_person_too(released_course, monkeypatch):
    from grader.book import nbgrader_plugin
    from grader.book.nbgrader_plugin import SaveGrades

    done = []

    class Row:
        auto_score, needs_manual_grade = 0.0, False

    class Gradebook:
        db = type("Session", (), {"commit": staticmethod(lambda: done.append("commit"))})

        def find_grade(self, *_):
            return row

    row, save = Row(), SaveGrades()
    save.gradebook = Gradebook()
    test = cell("t", "f()", grade=True, locked=True, points=1)
    test.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "5"})]
    names = {"notebook": "p1", "assignment": "ps1", "student": "alice"}
    save._add_score(test, {"nbgrader": names})
    assert (row.auto_score, row.needs_manual_grade, done) == (None, True, ["commit"])
    config = NbCourse.open(released_course).config
    assert nbgrader_plugin.SaveGrades in config.Autograde.autograde_preprocessors


# jupyter/nbgrader#950, #218, #1689
def test_pictures_of_the_courses_own_cells_and_beside_the_notebook_are_on_every_page(course, one_examiner):
    from nbconvert.exporters import HTMLExporter

    make, hand_in = course
    root = make(
        p1=[
            cell("text", "Look: ![](attachment:fig.png)", attachments=FIGURE, locked=True),
            cell(
                "task-text",
                "Do <img src='attachment:fig.png' width=30>",
                attachments=FIGURE,
                task=True,
                points=1,
            ),
            nbformat.v4.new_markdown_cell("See ![](img/ours.png)", id="free"),
            cell("essay-text", "Write.", solution=True, grade=True, points=1),
        ]
    )
    (root / "source" / "ps1" / "img").mkdir()
    (root / "source" / "ps1" / "img" / "ours.png").write_bytes(picture())
    folder = hand_in("alice")
    (folder / "my plot.png").write_bytes(picture())
    notebook = nbformat.read(folder / "p1.ipynb", as_version=4)
    notebook.cells[3].source = "Mine: ![](my%20plot.png) ![gone](gone.png)"
    del notebook.cells[0]["attachments"]
    nbformat.write(notebook, folder / "p1.ipynb")
    (result,) = grade(root, "ps1")
    assert not result.error
    graded = root / "autograded" / "alice" / "ps1" / "p1.ipynb"
    kept = {grade_id(cell): cell.get("attachments") for cell in nbformat.read(graded, as_version=4).cells}
    assert kept["text"] == kept["task-text"] == FIGURE
    ((page,),) = feedback(root, "ps1").values()
    text = page.read_text()
    assert text.count('src="data:image/png;base64,') == 4
    assert "[picture: gone (gone.png)]" in text
    assert 'width="30"' in text
    stock, _ = HTMLExporter(template_name="classic").from_filename(str(graded))
    assert FIGURE["fig.png"]["image/png"] in stock


def test_the_class_page_leaves_open_why_a_test_of_a_plain_notebook_failed(course, one_examiner):
    make, hand_in = course
    told = cell("told", "assert f() == 1, 'f is one'", grade=True, locked=True, points=1)
    bare = cell("bare", "g = f()\nassert g == 1", grade=True, locked=True, points=1)
    loud = cell("loud", "import sys\nprint(f(), file=sys.stderr)", grade=True, locked=True, points=1)
    half = cell("half", "0.5 if f() != 1 else None", grade=True, locked=True, points=1)
    root = make(p1=[ANSWER, told, bare, loud, half])
    hand_in("ann")
    for student in ("bob", "<b>eve"):
        path = hand_in(student) / "p1.ipynb"
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[0].source = "def f():\n    return 2"
        nbformat.write(notebook, path)
    grade(root, "ps1")
    found = {result.student: result.whys for result in class_results(root, "ps1")}
    assert found["ann"] == {("p1", "loud"): "printed to stderr: 1"}
    assert found["bob"] == {
        ("p1", "told"): "AssertionError: f is one",
        ("p1", "bare"): "AssertionError in: assert g == 1",
        ("p1", "loud"): "printed to stderr: 2",
        ("p1", "half"): "earned 0.5 of 1 points",
    }
    page = summary(root, "ps1").read_text()
    assert "AssertionError: f is one (2)" in page
    assert "AssertionError in: assert g == 1" in page
    assert "<b>eve" not in page


def test_a_dry_run_of_a_plain_notebook_leaves_traces_or_calls_a_changed_test_the_same(course, one_examiner):
    from nbgrader.converters import GenerateAssignment

    make, hand_in = course
    root = make(p1=[ANSWER, cell("t", "assert f() == 1", grade=True, locked=True, points=1)])
    hand_in("ann")
    grade(root, "ps1")
    path = root / "source" / "ps1" / "p1.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = notebook.cells[0].source.replace("return 1", "return 2")
    notebook.cells[1].source = "assert f() == 2, 'two'"
    nbformat.write(notebook, path)
    opened = NbCourse.open(root)
    opened.folders.assignment_id = "ps1"
    opened.config.GenerateAssignment.force = True
    run_converter(GenerateAssignment(coursedir=opened.folders, config=opened.config), "releasing")
    before = class_results(root, "ps1")
    (change,) = changes(before, grade(root, "ps1", dry_run=True))
    assert (change.before, change.after) == (1, 0)
    assert change.what == ["p1, t, pass -> fail: AssertionError: two"]
    assert class_results(root, "ps1") == before
