import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from grader.book.nbgrader_course import NbCourse
from grader.course import Course, CourseError, course_around, parse_size
from grader.steps import workspace

GOOD = """
[course]
name = "C"
[assignments.hw]
weight = 0.5
[assignments.hw.parts.1]
notebook = "part1"
files = ["work.py"]
machine = { memory = "512MiB" }
[assignments.hw.parts.1.items]
item = 2
[assignments.hw.parts.1.modules]
item = "work.py"
[assignments.hw.parts.1.reports]
essay = 1
"""


def write(root, text):
    (root / "source" / "hw").mkdir(parents=True, exist_ok=True)
    (root / "course.toml").write_text(text)
    return root


def test_a_course_is_found_from_any_folder_inside_its_repository(tmp_path):
    root = write(tmp_path / "assignments", GOOD)
    deep = tmp_path / "week01" / "results"
    deep.mkdir(parents=True)
    for start in (root, tmp_path, deep, root / "source" / "hw"):
        assert Course.find(start).root == root
    part = Course.find(deep).assignment("hw").part(1)
    assert part.memory == 512 << 20
    assert part.items == {"item": 2.0}
    assert part.checks_hidden == root / "source" / "hw" / "checks" / "part1_hidden.py"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "C"', "", "the key 'name' is missing"),
        ("weight = 0.5", "weight = 5", "the weight of hw is 5.0"),
        ("item = 2", "item = 0", "item is worth 0.0 points"),
        ("essay = 1", "item = 1", r"\['item'\] stand in items and in reports"),
        ("512MiB", "lots", "'lots' is not a size"),
        ('item = "work.py"', 'item = "play.py"', "item = 'play.py'"),
        ("[course]", "[course", "not valid TOML"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(tmp_path, old, new, says):
    write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(CourseError, match=says) as caught:
        Course.load(tmp_path)
    assert "course.toml" in str(caught.value)


def test_unknown_names_are_answered_with_those_there_are(tmp_path):
    course = Course.load(write(tmp_path, GOOD))
    with pytest.raises(CourseError, match=r"hw9 is not an assignment of C; course\.toml has: hw"):
        course.assignment("hw9")
    with pytest.raises(CourseError, match=r"hw has no part 7; parts in course\.toml: 1"):
        course.assignment("hw").part(7)
    with pytest.raises(CourseError, match=r"no course\.toml here or above"):
        Course.find("/")


@pytest.mark.parametrize(("text", "size"), [("1KiB", 1024), ("1.5 MiB", 3 << 19), ("2GiB", 2 << 30)])
def test_sizes_are_binary(text, size):
    assert parse_size(text) == size


@pytest.fixture
def eves(tmp_path):
    """A submission that looks like a course, in a course whose graded work lies in a folder of another name."""
    root = write(tmp_path / "course", GOOD)
    config = "c = get_config()\nc.CourseDirectory.autograded_directory = 'judged/in/{student_id}'\n"
    (root / "nbgrader_config.py").write_text(config)
    folder = write(root / "submitted" / "eve" / "hw", GOOD.replace('"C"', '"eve\'s"'))
    ran = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    for name in (
        "nbgrader_config.py",
        "checks/part1_public.py",
        "work.py",
        "part1.md",
        "conftest.py",
        "test_it.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(ran)
    (folder / "test_it.py").write_text("def test(): assert False")
    return folder


def test_a_course_among_the_files_of_students_is_none(eves, tmp_path):
    root = eves.parents[2]
    assert Course.find(eves).root == root
    assert Course.find(eves / "checks").name == "C"
    assert course_around(root) is None
    assert course_around(root / "source" / "hw") is None
    assert course_around(root / "judged" / "in" / "eve") == root
    assert course_around(root / "autograded" / "eve") == root
    assert course_around(root / "hw" / "submitted" / "eve") == root
    link = tmp_path / "link"
    link.symlink_to(eves)
    for path in (eves, link, eves / "source" / ".."):
        for load in (Course.load, NbCourse.open):
            with pytest.raises(CourseError, match="lies among the students' files"):
                load(path)
    assert not (tmp_path / "ran").exists()


def test_no_check_of_a_submission_runs(eves, tmp_path):
    with pytest.raises(CourseError, match=r"a submission to .*grader examine HW"):
        workspace.find(eves)
    assert not (tmp_path / "ran").exists()


def test_pytest_passes_over_what_students_handed_in(eves):
    names = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    settings = names["tool"]["pytest"]["ini_options"]["norecursedirs"]
    (eves.parents[2] / "pytest.ini").write_text(f"[pytest]\nnorecursedirs = {' '.join(settings)}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(eves.parents[2])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=eves.parents[3])
    assert "no tests ran" in done.stdout, done.stdout + done.stderr
    assert not (eves.parents[3] / "ran").exists()
