"""What somebody is told of how far they are: from what was checked last, and never more than that."""

import json
import os
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from grader.cli import app
from grader.course import Course, CourseError
from grader.examine.report import CheckResult, Report
from grader.steps import done, pack, workspace

HUGE = [{"earned": float("inf"), "of": float("inf")}, {"earned": 0.5, "of": 10**400}]


@pytest.fixture
def mine(released_course):
    folder = released_course.parent / "mine"
    workspace.start(Course.load(released_course), "hw1", folder)
    return folder


def checked(folder, *, hidden=False, **points):
    """Keep a report in which items earned these shares of two points."""
    part = workspace.find(folder).part(1)
    checks = [
        CheckResult(f"{item}_is_right", item, 2 * share, 2.0, "pass" if share == 1 else "fail", "")
        for item, share in points.items()
    ]
    assert done.keep(folder, part, Report(checks), hidden=hidden) == ""


def states(folder):
    return {one.name: one.state for one in done.exercises(folder)[1]}


def test_a_fresh_copy_has_everything_left_and_begins_with_the_first_exercise(mine):
    _, found = done.exercises(mine)
    assert {one.state for one in found} == {done.NOT_TRIED, done.TO_WRITE}
    assert sum(one.earned for one in found) == 0
    assert done.following(found).name == found[0].name


def test_an_exercise_is_done_while_its_file_is_as_it_was_checked(mine):
    checked(mine, total=1, spread=0.5)
    assert (states(mine)["total"], states(mine)["spread"]) == (done.DONE, done.PARTLY)
    assert done.following(done.exercises(mine)[1]).name == "spread"
    (mine / "sums.py").write_text("x = 1\n")
    assert states(mine)["total"] == done.CHANGED
    checked(mine, total=1)
    assert (states(mine)["total"], states(mine)["spread"]) == (done.DONE, done.CHANGED)


def test_points_are_the_share_of_the_checks_that_ran_and_not_more_than_the_exercise_is_worth(mine):
    checked(mine, total=0.5)
    _, found = done.exercises(mine)
    (total,) = (one for one in found if one.name == "total")
    assert total.earned == total.worth / 2
    for entry in ({"earned": 9, "of": 2}, {"earned": "1", "of": 2}, {"of": 0, "earned": 0}, {}, *HUGE):
        (mine / done.KEPT).write_text(json.dumps({"1/total": entry}))
        assert states(mine)["total"] == done.NOT_TRIED


@pytest.mark.parametrize("text", ["", "[1]", '{"1/total": 3}', "\0", "[" * 100_000])
def test_a_damaged_record_is_named_and_the_next_check_begins_a_new_one(mine, text):
    (mine / done.KEPT).write_text(text)
    with pytest.raises(CourseError, match=r"\.grader-progress\.json: .*delete it, and check again"):
        done.exercises(mine)
    checked(mine, total=1)
    assert states(mine)["total"] == done.DONE


def test_a_record_that_is_a_link_or_a_pipe_is_neither_followed_nor_waited_for(mine):
    other = mine.parent / "other"
    other.write_text("{}")
    (mine / done.KEPT).symlink_to(other)
    (mine / f"{done.KEPT}.new").symlink_to(other)
    with pytest.raises(CourseError, match="delete it, and check again"):
        done.exercises(mine)
    checked(mine, total=1)
    assert states(mine)["total"] == done.DONE
    assert other.read_text() == "{}"
    (mine / done.KEPT).unlink()
    os.mkfifo(mine / done.KEPT)
    with pytest.raises(CourseError, match="delete it, and check again"):
        done.exercises(mine)


def test_a_record_that_cannot_be_written_is_said_in_a_sentence(mine):
    name = next(one.name for one in done.exercises(mine)[1] if one.is_report)
    (mine / f"{done.KEPT}.new").mkdir()
    with pytest.raises(CourseError, match="cannot be written"):
        done.written(mine, name)


def test_nothing_is_left_where_all_is_done(mine):
    assignment, found = done.exercises(mine)
    checked(mine, **{one.name: 1 for one in found if not one.is_report})
    for one in found:
        if one.is_report:
            done.written(mine, one.name)
    _, found = done.exercises(mine)
    parts = {number: replace(part, hours=5.0) for number, part in assignment.parts.items()}
    console = Console(width=200)
    with console.capture() as told:
        console.print(done.picture(mine, replace(assignment, parts=parts), found))
    assert "to plan, none are left" in told.get()


def test_a_report_is_done_when_its_author_says_so(mine):
    name = next(one.name for one in done.exercises(mine)[1] if one.is_report)
    done.written(mine, name)
    assert states(mine)[name] == done.DONE
    with pytest.raises(CourseError, match=f"total is no report of hw1; reports: .*{name}"):
        done.written(mine, "total")


def test_hours_left_are_shared_out_by_points_and_extras_come_on_top(mine):
    text = (mine / "course.toml").read_text()
    (mine / "course.toml").write_text(
        text.replace("[assignments.hw1.parts.1]\n", "[assignments.hw1.parts.1]\nhours = 4\n")
    )
    _, found = done.exercises(mine)
    assert sum(one.hours_left for one in found if not one.extra) == pytest.approx(4)
    checked(mine, total=1)
    _, after = done.exercises(mine)
    (total,) = (one for one in after if one.name == "total")
    assert sum(one.hours_left for one in after if not one.extra) == pytest.approx(
        4 - 4 * total.worth / sum(one.worth for one in after if not one.extra)
    )


def test_what_is_kept_is_neither_packed_nor_a_reason_for_a_note(mine):
    before = pack.look(workspace.find(mine), mine)
    checked(mine, total=1)
    after = pack.look(workspace.find(mine), mine)
    assert (after.names, after.notes) == (before.names, before.notes)


def test_the_command_shows_copies_below_a_folder_and_says_what_comes_next(mine):
    checked(mine, hidden=True, total=1, spread=0.5)
    for folder in (mine, mine.parent):
        found = CliRunner().invoke(app, ["progress", "--in", str(folder)])
        assert found.exit_code == 0, found.output
        told = " ".join(found.output.split())
        assert "done, hidden checks too" in told
        assert "Next: spread, in sums.py. Then: " in told
        assert f"check 1 --item spread --in {mine}".replace(" ", "") in told.replace(" ", "")


def test_a_folder_without_a_copy_is_told_how_to_make_one(tmp_path, released_course):
    with pytest.raises(CourseError, match="make one with"):
        done.copies(released_course)
    with pytest.raises(CourseError, match="no such folder"):
        done.copies(tmp_path / "nowhere")


def test_a_report_of_a_name_that_two_parts_have_is_meant_by_its_part(mine):
    text = (mine / "course.toml").read_text()
    second = text[text.index("[assignments.hw1.parts.1]") :].replace("parts.1", "parts.2")
    (mine / "course.toml").write_text(f"{text}\n{second}")
    with pytest.raises(CourseError, match="several reports of this name; say 1/essay or 2/essay"):
        done.written(mine, "essay")
    done.written(mine, "2/essay")
    _, found = done.exercises(mine)
    assert [one.state for one in found if one.name == "essay"] == [done.TO_WRITE, done.DONE]


def failed(*checks):
    """A report in which these checks of `total` failed, each with its hint."""
    return Report(
        [CheckResult(name, "total", 0.0, 1.0, "fail", "", hint=f"Hint on {name}.") for name in checks]
    )


def test_an_opened_hint_is_remembered_until_its_check_passes(mine):
    part = workspace.find(mine).part(1)

    def opened(report):
        done.keep(mine, part, report, hidden=False)
        return {check.name: known for check, known in done.hints(mine, part, report)}

    report = failed("adds", "adds_none")
    assert opened(report) == {"adds": False, "adds_none": False}
    done.open_hint(mine, part, report.checks[0])
    assert opened(report) == {"adds": True, "adds_none": False}
    passes = CheckResult("adds", "total", 1.0, 1.0, "pass", "")
    assert opened(Report([passes, *failed("adds_none").checks])) == {"adds_none": False}
    assert opened(report) == {"adds": False, "adds_none": False}


def test_another_hint_of_the_same_check_is_not_open(mine):
    part, report = workspace.find(mine).part(1), failed("adds")
    done.keep(mine, part, report, hidden=False)
    done.open_hint(mine, part, report.checks[0])
    waits = CheckResult("adds", "total", 0.0, 1.0, "fail", "", hint="Who waits for whom?")
    assert [known for _, known in done.hints(mine, part, Report([waits]))] == [False]


@pytest.mark.parametrize("hints", [3, ["adds"], {"adds": 1}])
def test_damaged_hints_count_as_not_opened(mine, hints):
    part, report = workspace.find(mine).part(1), failed("adds")
    (mine / done.KEPT).write_text(json.dumps({"1/total": {"hints": hints}}))
    assert [known for _, known in done.hints(mine, part, report)] == [False]
    done.open_hint(mine, part, report.checks[0])
    assert [known for _, known in done.hints(mine, part, report)] == [True]


def test_the_file_for_the_site_holds_every_exercise_and_what_comes_next(mine):
    checked(mine, total=1, spread=0.5)
    file = mine.parent / "progress.json"
    ran = CliRunner().invoke(app, ["progress", "--in", str(mine), "--json", str(file)])
    assert ran.exit_code == 0, ran.output
    data = json.loads(file.read_text())
    assert data["format"] == done.FORMAT
    (copy,) = data["copies"]
    found = {one["name"]: one for one in copy["exercises"]}
    assert (found["total"]["state"], found["spread"]["earned"]) == (done.DONE, found["spread"]["worth"] / 2)
    assert [name for name, one in found.items() if one["next"]] == ["spread"]
    assert "check 1 --item spread" in copy["command"]
    ran = CliRunner().invoke(app, ["progress", "--in", str(mine), "--json", str(mine)])
    assert ran.exit_code != 0
    assert "name another file" in str(ran.exception)
