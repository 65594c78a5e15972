"""hw1 part 2: the checks accept the reference and files of past years, and reject every known wrong solution."""

import re
import shutil
from pathlib import Path

import pytest

from grader import examiner as examiner_module
from grader.course import Course
from grader.examiner import Examiner, checks_of
from grader.source import strip_solutions, validate

COURSE = Path(__file__).parents[1]
PART = Course.load(COURSE).assignment("hw1_distributed").part(2)
WRONG = sorted((PART.source / "wrong").glob("*.py"))
PAST_YEARS = sorted((Path(__file__).parent / "past_years").glob("*/"))


@pytest.fixture(scope="module")
def examiner():
    with Examiner("auto") as one:
        yield one


def submission(folder, replacements=()):
    """Return a folder with the reference solution, some of its files replaced."""
    folder.mkdir()
    for name in PART.files:
        shutil.copy(PART.source / name, folder / name)
    for name, text in replacements:
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def header(path):
    """Return what the first lines of a wrong solution declare."""
    return dict(re.findall(r"^# ([a-z ]+): (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def failures(report):
    return {check.name: f"{check.verdict}: {check.why}" for check in report.checks if check.verdict != "pass"}


def test_statement_points_and_stubs_agree_with_the_course():
    assert validate(Course.load(COURSE).assignment("hw1_distributed")) == []


def test_weights_of_the_assignments_add_up():
    course = Course.load(COURSE)
    assert sum(assignment.weight for assignment in course.assignments.values()) == pytest.approx(1)


@pytest.mark.slow
def test_reference_gets_full_points(examiner, tmp_path):
    report = examiner.examine(PART, submission(tmp_path / "reference"))
    assert failures(report) == {}
    assert {item: report.points(item) for item in PART.items} == PART.items


def test_untouched_stubs_get_nothing_and_say_what_is_missing(examiner, tmp_path):
    stubs = [(name, strip_solutions((PART.source / name).read_text(encoding="utf-8"))) for name in PART.files]
    report = examiner.examine(PART, submission(tmp_path / "stubs", stubs))
    assert report.total == 0
    assert {check.verdict for check in report.checks} == {"fail"}
    assert all("not implemented yet" in check.why for check in report.checks)


def test_a_missing_file_fails_its_own_checks_only(examiner, tmp_path):
    folder = submission(tmp_path / "missing")
    (folder / "metrics.py").unlink()
    report = examiner.examine(PART, folder, items=["metrics", "accumulation"])
    assert {check.item for check in report.checks if check.verdict != "pass"} == {"metrics"}
    assert report.points("accumulation") == PART.items["accumulation"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", PAST_YEARS, ids=lambda folder: folder.name)
def test_files_of_past_years_get_full_points(examiner, tmp_path, folder):
    theirs = [(path.name, path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    report = examiner.examine(
        PART, submission(tmp_path / folder.name, theirs), items=["sequential_print", "ring", "syncbn"]
    )
    assert failures(report) == {}


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_wrong_solution_is_caught(examiner, tmp_path, monkeypatch, path):
    declared = header(path)
    if "needs" in declared and examiner.isolation != "namespaces":
        pytest.skip(declared["needs"])
    known = {check.name: check for check in checks_of(PART)}
    # The one check that must catch it: the others would take minutes and prove nothing.
    monkeypatch.setattr(examiner_module, "checks_of", lambda part, hidden: [known[declared["caught by"]]])
    replacement = [(declared["replaces"], path.read_text(encoding="utf-8"))]
    (result,) = examiner.examine(PART, submission(tmp_path / "wrong", replacement)).checks
    assert result.verdict == "fail", result
    assert "damaged" not in result.why, result


def test_every_item_has_a_wrong_solution():
    item_of = {check.name: check.item for check in checks_of(PART)}
    assert {item_of[header(path)["caught by"]] for path in WRONG} == set(PART.items)
