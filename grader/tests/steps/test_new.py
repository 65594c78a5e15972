"""A new course, by the commands that its own page names: it releases, collects, grades and exports."""

import csv
import shutil

import pytest
from typer.testing import CliRunner

from grader.cli import app
from grader.course import Course, CourseError
from grader.notebooks.source import validate
from grader.notebooks.wrong import wrong_solutions
from grader.steps import front_page
from grader.steps.new import TEMPLATE, new_course


@pytest.fixture
def grader(monkeypatch):
    """Return a function that runs one command in a folder and returns what it printed, once it has succeeded."""
    runner = CliRunner()

    def run(*arguments, here):
        monkeypatch.chdir(here)
        result = runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_the_commands_of_a_new_courses_page_work_from_the_first_release_to_the_grade(
    tmp_path, grader, one_examiner, monkeypatch
):
    grader("new", "sums", here=tmp_path)
    course, public = tmp_path / "sums", tmp_path / "public"
    page = (course / "README.md").read_text()
    for command in ("release hw1", "release --to ../public", "collect hw1 handed-in/", "grade hw1"):
        assert f"\ngrader {command} " in page
    grader("release", "hw1", here=course)
    grader("release", "--to", "../public", here=course)
    assert {"Makefile", "README.md", "HAND-IN.md", "grader", "requirements.txt"} <= {
        path.name for path in public.iterdir()
    }
    assert not list(public.glob("**/*_hidden.py"))

    grader("start", "hw1", here=public)
    mine = public / "hw1"
    shutil.copy(course / "source" / "hw1" / "right" / "averages_cumsum.py", mine / "averages.py")
    assert "1/1" in grader("check", "--in", "hw1", here=public)
    (course / "handed-in").mkdir()
    grader("pack", "--in", "hw1", "--to", course / "handed-in" / "ann.zip", here=public)

    grader("collect", "hw1", "handed-in/", here=course)
    assert "3 / 4" in grader("grade", "hw1", here=course)  # the report is for a person to read
    grader("feedback", "hw1", here=course)
    grader("export", "--to", "grades.csv", here=course)
    (row,) = csv.DictReader((course / "grades.csv").open())
    assert (row["student_id"], float(row["score"])) == ("ann", 3)


def test_its_source_is_consistent_and_its_wrong_solutions_are_edits_of_its_reference(tmp_path):
    new_course(tmp_path / "new")
    assignment = Course.load(tmp_path / "new").assignment("hw1")
    assert validate(assignment) == []
    assert {wrong.caught_by for wrong in wrong_solutions(assignment.source / "wrong")} <= {
        "averages_of_a_vector",
        "averages_of_extreme_widths",
    }
    assert front_page.hand_in(Course.load(tmp_path / "new"), [assignment]).count("Upload it on the page") == 1


def test_its_wrong_solutions_fail_and_its_right_one_passes(tmp_path, examiner):
    part = Course.load(TEMPLATE).assignment("hw1").part(1)
    solutions = {
        wrong.name: (wrong.text, wrong.caught_by) for wrong in wrong_solutions(part.source / "wrong")
    }
    solutions["right"] = ((part.source / "right" / "averages_cumsum.py").read_text(), None)
    for name, (text, caught_by) in solutions.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "averages.py").write_text(text)
        report = examiner.examine(part, tmp_path / name)
        failed = {check.name for check in report.checks if check.verdict != "pass"}
        assert (caught_by in failed) if caught_by else not failed, (name, failed)


def test_a_new_course_takes_nobodys_place(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CourseError, match="not empty; name a new folder"):
        new_course(tmp_path)
