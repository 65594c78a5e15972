"""hw1's own: files that students wrote for the statements of past years."""

from pathlib import Path

import pytest

from grader.course import Course

HOMEWORK = Course.load(Path(__file__).parents[1]).assignment("hw1_distributed")
PAST_YEARS = sorted((Path(__file__).parent / "past_years").glob("*/"))


@pytest.mark.drawn(4)
@pytest.mark.parametrize("folder", PAST_YEARS, ids=lambda folder: folder.name)
def test_files_of_past_years_get_full_points(examiner, submission, folder):
    part = HOMEWORK.part(2)
    theirs = [(path.name, path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    report = examiner.examine(part, submission(part, theirs), items=["sequential_print", "ring", "syncbn"])
    assert [f"{check.name}: {check.why}" for check in report.checks if check.verdict != "pass"] == []
