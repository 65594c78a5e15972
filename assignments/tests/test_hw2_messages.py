"""hw2's own: what a student reads after a common mistake names its cause, and costs no other check points."""

from pathlib import Path

import pytest

from grader.course import Course
from grader.notebooks.wrong import wrong_solutions

HOMEWORK = Course.load(Path(__file__).parents[1]).assignment("hw2_pipelines")
WRONG = {wrong.name: wrong for wrong in wrong_solutions(HOMEWORK.source / "wrong")}
PADDING = ["brain_pads_to_the_maximum", "big_brain_pads_to_the_batch"]
PROFILE = ["backward_events_are_exact", "summary_adds_up"]


@pytest.mark.parametrize(
    ("name", "part", "checks", "told"),
    [
        ("padding_drops_the_longest", 2, PADDING, "number of items"),
        ("profiler_backward_as_forward", 3, PROFILE, "is missing"),
    ],
)
def test_the_cause_is_named_and_one_check_is_charged(examiner, submission, name, part, checks, told):
    wrong, part = WRONG[name], HOMEWORK.part(part)
    report = examiner.examine(part, submission(part, [(wrong.file, wrong.text)]), names=checks)
    why = {check.name: check.why for check in report.checks if check.verdict != "pass"}
    assert list(why) == [wrong.caught_by]
    assert told in why[wrong.caught_by]


def test_who_trains_elsewhere_is_told_that_the_results_are_wrong(examiner, submission):
    part = HOMEWORK.part(3)
    text = (part.source / "fast_training.py").read_text(encoding="utf-8")
    text += """

right = train


def train(store, validation, weights, settings):
    return right(store, validation, weights, {**settings, "rate": -settings["rate"]})
"""
    files = [("fast_training.py", text)]
    report = examiner.examine(part, submission(part, files), names=["validation_keeps_no_graphs"])
    (check,) = report.checks
    assert check.verdict == "fail"
    assert "results_are_unchanged" in check.hint
