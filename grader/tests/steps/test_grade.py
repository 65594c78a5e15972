"""From submitted folders to scores in nbgrader's gradebook."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from grader.bench import against_nbgrader as bench
from grader.book.late import policy_penalty as late_penalty
from grader.book.nbgrader_course import NbCourse, run_converter
from grader.book.results import class_results
from grader.course import CourseError
from grader.lean import nbformat
from grader.notebooks.template import grade_id
from grader.steps.export import export
from grader.steps.grade import default_jobs, grade
from grader.steps.release import release

pytestmark = pytest.mark.usefixtures("one_examiner")

NO_EMPTY_LIST = "def total(x):\n    return x[0] + sum(x[1:])\n\n\ndef spread(x):\n    return max(x)\n"


def rows(course):
    """Return what the gradebook says of every graded cell."""
    gradebook = NbCourse.open(course).gradebook()
    try:
        found = {}
        for assignment in gradebook.assignments:
            for submission in assignment.submissions:
                for notebook in submission.notebooks:
                    for row in notebook.grades:
                        key = submission.student.id, row.cell.name
                        found[key] = row.auto_score, row.needs_manual_grade
                    for comment in notebook.comments:
                        found[submission.student.id, "comment", comment.cell.name] = comment.auto_comment
        return found
    finally:
        gradebook.close()


def autograde(course, assignment, student="*"):
    """Run nbgrader's own converter, as its command line and formgrader's button do."""
    from nbgrader.converters import Autograde

    opened = NbCourse.open(course)
    opened.folders.assignment_id, opened.folders.student_id = assignment, student
    converter = Autograde(coursedir=opened.folders, config=opened.config)
    converter.force = True
    run_converter(converter, "autograding")


def autograded(course, student):
    path = course / "autograded" / student / "hw1" / "part1_sums.ipynb"
    return {grade_id(cell): cell for cell in nbformat.read(path, as_version=4).cells if grade_id(cell)}


def answered(course, text, edit=None):
    """Return the released notebook with an essay, as JSON."""
    notebook = nbformat.read(course / "release" / "hw1" / "part1_sums.ipynb", as_version=4)
    for cell in notebook.cells:
        if grade_id(cell) == "essay":
            cell.source = text
    if edit:
        edit(notebook)
    return nbformat.writes(notebook)


def by_student(results):
    return {result.student: result for result in results}


def hand_in_a_class(course, hand_in):
    def tamper(notebook):
        notebook.cells.append(notebook.cells[2].copy())
        notebook.cells[2].metadata.nbgrader.points = 1000
        notebook.cells[2].metadata.nbgrader.schema_version = 1
        notebook.cells[2].source = "1"
        notebook.cells[3].metadata.tags = ["skip-execution"]

    hand_in("right", notebook=answered(course, "It commutes."))
    hand_in("partly", NO_EMPTY_LIST)
    hand_in("raises", "raise SystemExit(0)")
    hand_in("dies", "import os\nos._exit(0)")
    hand_in("absent", None)
    hand_in("broken", notebook='{"cells": [')
    hand_in("tampers", notebook=answered(course, "Mine.", tamper))


EXPECTED = {"right": 4, "partly": 1, "raises": 0, "dies": 0, "absent": 0, "broken": 4, "tampers": 4}


def test_each_submission_gets_exactly_the_points_of_its_honest_work(released_course, hand_in):
    hand_in_a_class(released_course, hand_in)
    results = grade(released_course, "hw1")
    assert {result.student: result.score for result in results} == EXPECTED
    assert all(result.max_score == 7 and not result.error for result in results)
    found = rows(released_course)
    assert found["right", "essay"] == (None, True)  # waits for a person
    assert found["partly", "comment", "essay"] == "No response."
    told = by_student(results)
    assert "sums.py is missing" in told["absent"].summary()
    assert any("not a notebook" in note for note in told["broken"].notes)
    assert any("called total" in note for note in told["tampers"].notes)


def test_nbgraders_own_autograde_gives_the_same_rows_and_files(released_course, hand_in, tmp_path):
    hand_in_a_class(released_course, hand_in)
    theirs = tmp_path / "theirs"
    shutil.copytree(released_course, theirs)
    grade(released_course, "hw1")
    autograde(theirs, "hw1")
    assert rows(released_course) == rows(theirs)

    def files(course):
        folder = course / "autograded"
        # Others are shut out at the folder, whoever made it; what lies in one that was open is shut too.
        assert folder.stat().st_mode & 0o077 == 0
        return {p.relative_to(folder): p.stat().st_mode & 0o700 for p in folder.rglob("*") if p.is_file()}

    assert files(released_course) == files(theirs)
    for student in EXPECTED:
        ours, other = autograded(released_course, student), autograded(theirs, student)
        assert {k: v.source for k, v in ours.items()} == {k: v.source for k, v in other.items()}
        assert {k: v.metadata for k, v in ours.items()} == {k: v.metadata for k, v in other.items()}


def test_the_score_is_the_output_of_the_check_cell_and_hidden_checks_are_numbers(released_course, hand_in):
    hand_in("partly", NO_EMPTY_LIST)
    grade(released_course, "hw1")
    cells = autograded(released_course, "partly")
    table, score = cells["total"].outputs
    assert score.data["text/plain"] == "1"
    assert "failed (0 of 2): Hidden check 1" in table.data["text/plain"]
    assert cells["spread"].outputs[-1].ename == "ChecksFailed"
    assert "secretly" not in json.dumps(list(cells.values()))
    assert "nothing" not in json.dumps(list(cells.values()))


def test_a_submission_that_is_as_it_was_is_not_run_again(released_course, hand_in):
    hand_in("ann")
    hand_in("bob")
    grade(released_course, "hw1")
    (released_course / "submitted" / "bob" / "hw1" / "sums.py").write_text(NO_EMPTY_LIST)
    results = by_student(grade(released_course, "hw1"))
    assert results["ann"].unchanged
    assert results["ann"].score == 4
    assert not results["bob"].unchanged
    assert results["bob"].score == 1
    hidden = released_course / "source" / "hw1" / "checks" / "part1_hidden.py"
    hidden.write_text(hidden.read_text() + "\n# changed\n")
    assert not any(result.unchanged for result in grade(released_course, "hw1"))


def test_grading_twice_and_alone_gives_the_same_scores(released_course, hand_in):
    hand_in_a_class(released_course, hand_in)
    first = {r.student: r.score for r in grade(released_course, "hw1", jobs=3)}
    assert {r.student: r.score for r in grade(released_course, "hw1", jobs=1, force=True)} == first
    for student in ("tampers", "partly"):
        (alone,) = grade(released_course, "hw1", students=[student], force=True)
        assert alone.score == first[student]


@pytest.mark.parametrize(("user", "jobs"), [(0, 7), (1000, 1)])
def test_without_root_no_submission_runs_beside_another_unless_asked_for(monkeypatch, user, jobs):
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(7)))
    assert default_jobs() == jobs


def test_a_submission_that_trips_the_grader_stops_nobody_else(released_course, hand_in, monkeypatch):
    from grader.runners import submission as grading

    hand_in("ann")
    hand_in("bob")
    honest = grading.rebuild_apart

    def trip(template, path):
        if "ann" in path.parts:
            raise RuntimeError("tripped")
        return honest(template, path)

    monkeypatch.setattr(grading, "rebuild_apart", trip)
    results = by_student(grade(released_course, "hw1"))
    assert "RuntimeError: tripped" in results["ann"].error
    assert results["bob"].score == 4
    assert not (released_course / "autograded" / "ann" / "hw1").exists()


def test_a_name_that_the_database_does_not_take_stops_nobody_else(released_course, hand_in):
    hand_in("ann")
    hand_in(os.fsdecode(b"b\xffb"))
    hand_in("zoe")
    results = grade(released_course, "hw1")
    assert [result.score for result in results if not result.error] == [4, 4]
    assert sum("could not be recorded" in result.error for result in results) == 1
    assert all(result.unchanged for result in grade(released_course, "hw1", students=["ann", "zoe"]))


def test_a_link_in_a_submitted_folder_brings_no_file_of_the_course_out(released_course, hand_in):
    hidden = released_course / "source" / "hw1" / "checks" / "part1_hidden.py"
    for student in ("ann", "bob"):
        (hand_in(student) / "stolen.py").symlink_to(hidden)
    grade(released_course, "hw1", students=["ann"])
    autograde(released_course, "hw1", student="bob")
    for path in (released_course / "autograded").rglob("*"):
        assert path.is_dir() or "secretly" not in path.read_text()


def test_what_no_check_could_settle_waits_for_a_person(released_course, hand_in):
    path = released_course / "source" / "hw1" / "checks" / "part1_hidden.py"
    path.write_text(path.read_text().replace('sub.call("sums:total", [])', 'sub.call("sums:total", []).no'))
    hand_in("ann")
    hand_in("bob")
    (ann,) = grade(released_course, "hw1", students=["ann"])
    autograde(released_course, "hw1", student="bob")
    found = rows(released_course)
    assert ann.for_a_person == ["total"]
    assert found["ann", "total"] == found["bob", "total"] == (1, True)
    assert found["ann", "spread"] == (1, False)


def test_points_given_by_hand_survive_grading_again(released_course, hand_in):
    hand_in("ann", notebook=answered(released_course, "It commutes."))
    grade(released_course, "hw1")
    gradebook = NbCourse.open(released_course).gradebook()
    gradebook.find_grade("essay", "part1_sums", "hw1", "ann").manual_score = 1.5
    gradebook.db.commit()
    gradebook.close()
    (ann,) = grade(released_course, "hw1", force=True)
    assert ann.score == 5.5


def test_what_a_page_about_the_class_needs_can_be_read_without_running_anything(released_course, hand_in):
    hand_in("ann", notebook=answered(released_course, "It commutes."))
    hand_in("bob", NO_EMPTY_LIST)
    grade(released_course, "hw1", students=["ann"])
    ann, bob = class_results(released_course, "hw1")
    assert (ann.student, ann.score, ann.max_score, ann.error) == ("ann", 4, 7, "")
    assert [check.verdict for check in ann.reports["part1_sums"].checks] == ["pass"] * 4
    essay = ann.cells["part1_sums", "essay"]
    assert (essay.score, essay.max_score, essay.auto_score, essay.needs_manual_grade) == (0, 2, None, True)
    assert ann.cells["part1_sums", "total"].auto_score == 3
    assert "not graded yet" in bob.error


def test_a_late_submission_loses_the_share_that_course_toml_says(released_course, hand_in):
    (hand_in("ann") / "timestamp.txt").write_text("2030-01-02 01:00:00 UTC\n")  # the second day has begun
    (hand_in("bob") / "timestamp.txt").write_text("2030-01-01 00:09:00 UTC\n")  # within the grace
    (hand_in("eve") / "timestamp.txt").write_text("not a date\n")
    scores = {result.student: result.score for result in grade(released_course, "hw1")}
    assert scores == pytest.approx({"ann": 4 * 0.8, "bob": 4, "eve": 4})


@pytest.mark.parametrize(
    ("hours", "penalty"), [(0.1, None), (1, 1), (24, 1), (24.5, 2), (49, 3), (73, 10), (1000, 10)]
)
def test_the_penalty_counts_days_begun_after_the_grace_and_takes_all_in_the_end(hours, penalty):
    policy = {"grace_minutes": 10, "penalty_per_day": 0.1, "max_days": 3}
    assert late_penalty(policy, 10.0, hours * 3600) == pytest.approx(penalty)


def test_without_a_policy_late_work_keeps_its_points():
    assert late_penalty({}, 10.0, 1e6) is None


def test_what_was_not_released_or_not_submitted_is_said_in_a_sentence(released_course, hand_in):
    with pytest.raises(CourseError, match="no submissions"):
        grade(released_course, "hw1")
    with pytest.raises(CourseError, match="release it first"):
        grade(released_course, "hw9")
    hand_in("ann")
    with pytest.raises(CourseError, match="bob"):
        grade(released_course, "hw1", students=["bob"])
    with pytest.raises(CourseError, match="grading never chooses"):
        grade(released_course, "hw1", isolation="auto")


def move_the_deadline(course, line):
    path = course / "course.toml"
    path.write_text(
        re.sub(r"^deadline = .*\n", line and f"deadline = {line}\n", path.read_text(), flags=re.M)
    )


def by_export(course):
    stock, _ = export(course, course / "grades.csv")
    with stock.open() as file:
        return {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}


def by_grading(course):
    return {result.student: result.score for result in grade(course, "hw1")}


def by_the_class_page(course):
    return {result.student: result.score for result in class_results(course, "hw1")}


def by_grading_somebody_else(course):
    grade(course, "hw1", students=["zoe"])
    return by_the_class_page(course)


def by_releasing_again(course):
    release(course, "hw1")
    return by_the_class_page(course)


def by_nbgrader(course):
    autograde(course, "hw1")
    return by_the_class_page(course)


WAYS = [by_export, by_grading, by_the_class_page, by_grading_somebody_else, by_releasing_again, by_nbgrader]


@pytest.mark.drawn(3)
@pytest.mark.parametrize("scores", WAYS, ids=lambda way: way.__name__)
def test_a_deadline_that_moves_after_grading_takes_the_penalties_along(released_course, hand_in, scores):
    # jupyter/nbgrader#723
    for student in ("ann", "bob", "zoe"):
        (hand_in(student) / "timestamp.txt").write_text("2030-01-01 12:00:00 UTC\n")
    assert set(by_grading(released_course).values()) == {3.6}
    gradebook = NbCourse.open(released_course).gradebook()
    gradebook.find_submission("hw1", "bob").extension = timedelta(days=1)
    gradebook.db.commit()
    gradebook.close()
    for line, expected, of_bob in (
        ("2030-01-02T00:00:00Z", 4.0, 4.0),
        ("2029-12-31T00:00:00Z", 3.2, 3.6),
        ("2030-01-01T14:00:00+02:00", 4.0, 4.0),
        ("2029-12-01T00:00:00", 0.0, 0.0),
        *([] if scores is by_nbgrader else [("", 4.0, 4.0)]),  # nbgrader cannot add more time to no deadline
    ):
        move_the_deadline(released_course, line)
        found = scores(released_course)
        assert (found["ann"], found["bob"]) == (pytest.approx(expected), pytest.approx(of_bob)), line


def test_a_deadline_that_moves_lets_no_check_run_again_and_is_said(released_course, hand_in, caplog):
    (hand_in("ann") / "timestamp.txt").write_text("2030-01-01 12:00:00 UTC\n")
    grade(released_course, "hw1")
    caplog.clear()
    move_the_deadline(released_course, "2030-01-02T23:59:00Z")
    (result,) = grade(released_course, "hw1")
    assert result.score == 4
    log = (released_course / ".grader" / "hw1" / "logs" / "ann.log").read_text()
    assert log.count("ran nothing: every verdict stands") == 1
    told = "the deadline of hw1 is 2030-01-02 23:59 UTC, by course.toml; it was 2030-01-01 00:00 UTC"
    assert told in caplog.text
    caplog.clear()
    grade(released_course, "hw1")
    assert "deadline" not in caplog.text


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An nbgrader course made elsewhere, with one honest submission of each kind."""
    root = tmp_path_factory.mktemp("plain") / "course"
    bench.build_course(root, len(bench.VARIANTS))
    return root


@pytest.fixture
def plain_course(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "course")
    return tmp_path / "course"


def test_a_plain_notebook_gets_what_its_tests_say(plain_course):
    results = by_student(grade(plain_course, bench.ASSIGNMENT))
    scores = {bench.VARIANTS[int(name[-3:])]: result.score for name, result in results.items()}
    assert scores == {"right": 7, "partly": 3.5, "wrong": 0, "empty": 0, "helper": 7}
    assert all(any("points isolated" in note for note in result.notes) for result in results.values())


def test_a_plain_notebook_that_ends_its_process_keeps_the_points_of_the_cells_before(plain_course):
    path = plain_course / "submitted" / "student000" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.source.startswith("def moving_average"):
            cell.source = "import os\nos._exit(0)"
    nbformat.write(notebook, path)
    (result,) = grade(plain_course, bench.ASSIGNMENT, students=["student000"])
    assert result.score == 2  # the tests that never ran give nothing


@pytest.mark.parametrize(("ignored", "score"), [(False, 6), (True, 7)])
def test_a_warning_costs_what_it_costs_in_nbgrader_unless_the_course_ignores_it(plain_course, ignored, score):
    path = plain_course / "submitted" / "student000" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.source.startswith("def moving_average"):
            cell.source += "\n\n\nhonest = moving_average\n\n\n"
            cell.source += "def moving_average(*args):\n    import warnings\n"
            cell.source += "    warnings.warn('old')\n    return honest(*args)"
    nbformat.write(notebook, path)
    if ignored:
        config = plain_course / "nbgrader_config.py"
        added = "c.IgnorePattern.enabled = True\nc.IgnorePattern.pattern = 'UserWarning: old'\n"
        config.write_text(config.read_text() + added)
    (result,) = grade(plain_course, bench.ASSIGNMENT, students=["student000"])
    assert result.score == score
    assert any("printed to stderr" in note for note in result.notes)


def test_a_plain_notebook_handed_in_late_counts_as_in_nbgrader(plain_course):
    gradebook = NbCourse.open(plain_course).gradebook()
    gradebook.update_or_create_assignment(bench.ASSIGNMENT, duedate=datetime(2020, 1, 1))
    gradebook.close()
    config = plain_course / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    stamp = plain_course / "submitted" / "student000" / bench.ASSIGNMENT / "timestamp.txt"
    stamp.write_text("2020-01-02 00:00:00 UTC\n")
    (result,) = grade(plain_course, bench.ASSIGNMENT, students=["student000"])
    assert result.score == 0


@pytest.mark.drawn(4)
def test_stock_nbgrader_gives_honest_submissions_the_same_scores(plain_course, tmp_path):
    theirs = tmp_path / "theirs"
    shutil.copytree(plain_course, theirs)
    grade(plain_course, bench.ASSIGNMENT)
    command = [sys.executable, "-m", "nbgrader", "autograde", bench.ASSIGNMENT]
    subprocess.run(command, cwd=theirs, check=True, capture_output=True)
    assert bench.scores(plain_course) == bench.scores(theirs)
    assert rows(plain_course) == rows(theirs)


def test_a_check_cell_that_course_toml_no_longer_lists_gives_no_points(released_course, hand_in):
    """Nothing runs for it, and a cell without an error would have all its points by nbgrader's rule."""
    hand_in("ann", "def total(x):\n    return sum(x)\n")
    toml = released_course / "course.toml"
    lines = toml.read_text().splitlines()
    toml.write_text("\n".join(line for line in lines if not line.startswith("spread")) + "\n")
    for path in (released_course / "source" / "hw1" / "checks").glob("*.py"):
        head, _, _ = path.read_text().partition('@check(item="spread"')
        path.write_text(head)
    (result,) = grade(released_course, "hw1")
    assert result.score == 3
    assert any("spread is graded, but no item of course.toml" in note for note in result.notes)


def test_a_folder_of_a_students_is_kept_whatever_the_course_calls_its_own(released_course, hand_in):
    folder = hand_in("ann")
    (folder / "mine" / "right").mkdir(parents=True)
    (folder / "mine" / "right" / "table.csv").write_text("1,2\n")
    grade(released_course, "hw1")
    assert (released_course / "autograded" / "ann" / "hw1" / "mine" / "right" / "table.csv").exists()
