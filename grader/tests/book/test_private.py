"""What a course keeps of its students is closed to everybody else on the machine."""

import os
import stat

import pytest

from grader.book.nbgrader_course import NbCourse
from grader.book.private import close_to_others
from grader.book.records import Record, log_run, only_one, save
from grader.steps.collect import collect
from grader.steps.export import export
from grader.steps.feedback import feedback
from grader.steps.grade import grade


def open_to(others, folder):
    """Return the paths below `folder` that others may read, write or enter, and can reach."""
    found = []
    for current, folders, files in os.walk(folder):
        if not stat.S_IMODE(os.stat(current).st_mode) & others:
            folders.clear()
            continue
        found += [os.path.join(current, name) for name in [*folders, *files]]
        found = [path for path in found if stat.S_IMODE(os.stat(path).st_mode) & others]
    return sorted(os.path.relpath(path, folder) for path in found)


def hand_in_and_grade(course, tmp_path):
    folder = tmp_path / "in" / "ann"
    folder.mkdir(parents=True)
    (folder / "sums.py").write_text("def total(x):\n    return sum(x)\n")
    collect(course, "hw1", tmp_path / "in")
    grade(course, "hw1")
    feedback(course, "hw1")


def modes(course):
    kept = course / ".grader" / "hw1"
    paths = kept, kept / "logs", kept / "ann.json", kept / "logs" / "ann.log", kept.parent / "lock"
    return {stat.S_IMODE(path.stat().st_mode) & 0o777 for path in paths}


def test_nobody_else_reads_what_a_class_handed_in_and_got(released_course, tmp_path, one_examiner):
    hand_in_and_grade(released_course, tmp_path)
    assert modes(released_course) == {0o700, 0o600}
    closed = ".grader", "submitted", "autograded", "feedback", "gradebook"
    theirs = open_to(0o077, released_course)
    assert not [name for name in theirs if name.startswith(closed)]
    assert "course.toml" in theirs  # the rest is none of this


@pytest.mark.parametrize(("shared", "wanted"), [(False, {0o700, 0o600}), (True, {0o770, 0o660})])
def test_what_an_earlier_version_left_open_is_closed_but_for_the_group_of_a_shared_course(
    released_course, shared, wanted
):
    config = released_course / "nbgrader_config.py"
    config.write_text(f"{config.read_text()}\nget_config().CourseDirectory.groupshared = {shared}\n")
    (released_course / ".grader").mkdir(mode=0o700)
    (released_course / ".grader").chmod(0o777)
    save(released_course, "hw1", Record("ann"))
    log_run(released_course, "hw1", "ann", ["x"])
    with only_one(released_course):
        pass
    for name in ("submitted", "autograded", "feedback"):
        (released_course / name / "ann").mkdir(parents=True)
    (released_course / "gradebook.db").chmod(0o666)
    NbCourse.open(released_course)
    assert modes(released_course) == wanted
    others = 0o007 if shared else 0o077
    closed = ".grader", "submitted", "autograded", "feedback", "gradebook"
    assert not [name for name in open_to(others, released_course) if name.startswith(closed)]


def test_exported_grades_are_for_nobody_else(released_course, tmp_path):
    paths = export(released_course, tmp_path / "grades.csv")
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600, 0o600]


def test_a_link_is_not_followed_out_of_what_is_closed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (tmp_path / "kept").mkdir(mode=0o755)
    (tmp_path / "kept" / "link").symlink_to(elsewhere)
    close_to_others([tmp_path / "kept", tmp_path / "absent"])
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
