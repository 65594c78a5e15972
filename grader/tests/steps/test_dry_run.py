"""A dry run says who gains and who loses by a changed check, and leaves everything as it was."""

import hashlib
import io
import os
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

from grader.book.changes import Change, changes
from grader.book.results import class_results
from grader.cli import app, console
from grader.steps.grade import grade
from grader.steps.terminal import would_change

pytestmark = pytest.mark.usefixtures("one_examiner")
NOTHING = "def total(x):\n    return sum(x) if x else None\n\n\ndef spread(x):\n    return max(x) - min(x)\n"


def everything(root):
    """Return names, bytes and times of all that a course holds, but for the lock of who grades."""
    found = {}
    for current, _, files in os.walk(root):
        for name in files:
            path = os.path.join(current, name)
            if name != "lock" and "checks" not in current:
                with open(path, "rb") as file:
                    found[path] = hashlib.file_digest(file, "sha256").hexdigest(), os.stat(path).st_mtime_ns
    return found


def test_a_dry_run_writes_or_tells_other_points_than_grading_gives(released_course, hand_in, monkeypatch):
    hand_in("ann")
    hand_in("bob", NOTHING)
    hand_in("eve", "def total(x):\n    return '<b>'\n")
    late = hand_in("late", NOTHING)
    (late / "timestamp.txt").write_text("2030-01-02 12:00:00 UTC")
    grade(released_course, "hw1")
    hand_in("new")
    hidden = released_course / "source" / "hw1" / "checks" / "part1_hidden.py"
    text = hidden.read_text()
    # From now on the sum of nothing is nothing, which ann loses by.
    hidden.write_text(text.replace("[]).result, 0,", "[]).result, None,"))
    kept, before = everything(released_course), class_results(released_course, "hw1", follow=False)
    would = grade(released_course, "hw1", dry_run=True)
    assert everything(released_course) == kept
    found = {change.shown: change for change in changes(before, would)}
    assert set(found) == {"ann", "bob", "late", "new"}  # eve fails as before
    assert (found["ann"].before, found["ann"].after) == (4, 2)
    assert (
        found["ann"].what[0].startswith("total_of_the_empty_list_secretly, pass -> fail: the sum of nothing")
    )
    assert (found["bob"].gain, found["bob"].what) == (2, ["total_of_the_empty_list_secretly, fail -> pass"])
    assert 1 < found["late"].gain < 2  # late penalties count
    assert (found["new"].before, found["new"].what) == (None, ["not graded yet"])

    monkeypatch.setattr(console, "width", 200)
    said = CliRunner().invoke(app, ["grade", "hw1", "--dry-run", "--course", str(released_course)])
    assert said.exit_code == 0
    assert "3 would gain, 1 would lose, 1 keep their points. Nothing was written" in " ".join(
        said.output.split()
    )
    assert "2 x total_of_the_empty_list_secretly, fail -> pass" in said.output
    assert "1 x total_of_the_empty_list_secretly, pass -> fail\n" in said.output
    assert everything(released_course) == kept

    real = {result.student: result.score for result in grade(released_course, "hw1")}
    assert real == pytest.approx({result.student: result.score for result in would})
    after = class_results(released_course, "hw1")
    assert changes(after, grade(released_course, "hw1", dry_run=True)) == []


def test_a_dry_run_of_a_large_class_hides_who_loses_or_gains_most():
    changes = [Change(f"s{number}", 100.0, float(number)) for number in range(201)]
    screen = Console(width=120, record=True, file=io.StringIO())
    screen.print(would_change(changes, "hw1"))
    text = screen.export_text()
    assert "... 141 more" in text
    assert all(re.search(rf"^ *{name} ", text, re.M) for name in ("s0", "s29", "s171", "s200"))
    assert not re.search(r"^ *s(30|170) ", text, re.M)
