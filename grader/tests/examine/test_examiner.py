"""Verdicts: what becomes of right, broken and awkward submissions, and of checks that break themselves."""

import json
import shutil

import pytest

from grader.course import Course, CourseError
from grader.examine.examiner import Examiner, checks_of
from grader.examine.report import Report

RIGHT = """
def total(numbers):
    return sum(numbers)


def spread(numbers):
    return max(numbers) - min(numbers)
"""


@pytest.fixture
def part(sample_course):
    return Course.load(sample_course).assignment("hw1").part(1)


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "sums.py").write_text(RIGHT)
    return folder


def verdicts(report):
    return {check.name: check.verdict for check in report.checks}


def test_every_check_gets_a_verdict_and_the_points_add_up(examiner, part, work):
    seen = []
    report = examiner.examine(part, work, on_check=seen.append)
    assert set(verdicts(report).values()) == {"pass"}
    assert [check.name for check in seen] == [check.name for check in report.checks]
    assert report.points("total") == report.max_points("total") == 3
    assert report.total == 4
    assert Report.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["checks"][0]["measured"]


def test_a_file_that_was_not_handed_in_fails_its_checks_before_they_run(examiner, part, work):
    (work / "sums.py").unlink()
    part.checks_public.write_text(
        "from grader.checks import check\n@check(item='total', points=1)\ndef cost(sub):\n    '''S.'''\n"
        "    raise ZeroDivisionError\n"
    )
    (check,) = examiner.examine(part, work, hidden=False).checks
    assert (check.verdict, check.why) == ("fail", "sums.py is missing; put it beside the notebook")


def test_hidden_checks_and_other_items_run_only_when_asked_for(examiner, part, work):
    assert set(verdicts(examiner.examine(part, work, hidden=False))) == {
        "total_adds",
        "spread_is_a_difference",
    }
    only = examiner.examine(part, work, items=["spread"])
    assert {check.item for check in only.checks} == {"spread"}


def test_the_same_work_gets_the_same_verdicts_whatever_ran_before(examiner, part, work, tmp_path):
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "sums.py").write_text(
        "import os, sys, builtins\nbuiltins.sum = lambda x: 0\nos.chdir('/')\n"
        "open('/tmp/left', 'w').write('x')\ndef total(n): return 0\ndef spread(n): os._exit(1)\n"
    )
    first = examiner.examine(part, work, seed=1)
    other = examiner.examine(part, hostile, seed=1)
    again = examiner.examine(part, work, seed=1)
    assert verdicts(first) == verdicts(again)
    assert [check.measured for check in first.checks] == [check.measured for check in again.checks]
    assert verdicts(other)["total_adds"] == "fail"
    assert verdicts(other)["total_of_the_empty_list_secretly"] == "pass"  # 0 is the sum of nothing


@pytest.mark.parametrize(
    ("body", "verdict", "says"),
    [
        ("1 / 0", "error", "the check itself broke: ZeroDivisionError"),
        ("sub.call('sums:total', [1]).result['x']", "error", "the check itself broke: TypeError"),
        ("raise Undecided('too noisy')", "undecided", "too noisy"),
        ("raise CourseError('wrong')", "error", "CourseError"),
        ("not_measured('bytes', 'no counters')", "not measured", "bytes: no counters"),
        ("not_measured('bytes', 'no counters'); expect(False, 'and wrong')", "fail", "and wrong"),
    ],
)
def test_a_check_that_breaks_gives_no_points_and_stops_no_other(examiner, part, work, body, verdict, says):
    part.checks_hidden.write_text(
        "from grader.checks import Undecided, check, expect, not_measured\nfrom grader.course import CourseError\n"
        f"@check(item='total', points=1)\ndef broken(sub):\n    '''Spec.'''\n    {body}\n"
        "@check(item='spread', points=1)\ndef after(sub):\n    '''Spec.'''\n"
    )
    checks = {check.name: check for check in examiner.examine(part, work).checks}
    assert checks["broken"].verdict == verdict
    assert says in checks["broken"].why
    assert checks["broken"].points == 0
    assert checks["after"].verdict == "pass"


def test_a_check_of_an_unknown_item_is_the_authors_error(part):
    part.checks_hidden.write_text(
        "from grader.checks import check\n@check(item='nothing', points=1)\ndef lost(sub):\n    '''S.'''\n"
    )
    with pytest.raises(CourseError, match="check lost belongs to the item 'nothing'"):
        checks_of(part)


def test_two_checks_of_one_name_are_the_authors_error(part):
    shutil.copy(part.checks_public, part.checks_hidden)
    with pytest.raises(CourseError, match="two checks are named"):
        checks_of(part)


def test_an_unknown_isolation_is_refused_before_anything_starts():
    with pytest.raises(ValueError, match="isolation is 'none'"):
        Examiner("none")
