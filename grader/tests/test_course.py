import subprocess
import sys
import time
import tomllib
from datetime import datetime
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


@pytest.mark.parametrize(("says", "gpus"), [('memory = "512MiB"', 0), ("gpus = 0", 0), ("gpus = 1", 1)])
def test_a_part_gets_the_gpus_that_the_course_names(tmp_path, says, gpus):
    write(tmp_path, GOOD.replace('memory = "512MiB"', says))
    assert Course.load(tmp_path).assignment("hw").part(1).gpus == gpus


def test_what_stands_in_for_a_gpu_is_the_interpreter_or_nothing(tmp_path):
    write(tmp_path, GOOD.replace('memory = "512MiB"', 'gpus = 1, without_gpu = "interpreter"'))
    assert Course.load(tmp_path).assignment("hw").part(1).interprets
    for says in ('gpus = 1, without_gpu = "cpu"', 'without_gpu = "interpreter"'):
        write(tmp_path, GOOD.replace('memory = "512MiB"', says))
        with pytest.raises(CourseError, match=r'without_gpu is .*; it is "interpreter", beside gpus = 1'):
            Course.load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "C"', "", r"line 2: the key 'name' is missing in \[course\]"),
        ('name = "C"', "name = 3", r"line 3: course\.name is 3; write a text in quotes"),
        (
            "weight = 0.5",
            "weight = 5",
            r"line 5: assignments\.hw\.weight is 5; .* between 0 and 1 \(5 % is 0\.05\)",
        ),
        ("weight = 0.5", 'weight = "0.5"', "line 5: .*weight is '0.5'; write a number without quotes"),
        ("weight = 0.5", "weight = true", "line 5: .*weight is true"),
        ("weight = 0.5", "weight = nan", "line 5: .*weight is nan; write a number"),
        ("weight = 0.5", "weight = 0,5", "line 5, 'weight = 0,5': not valid TOML: .* decimals with a point"),
        (
            "weight = 0.5",
            "wieght = 0.5",
            r"line 5: assignments\.hw\.wieght is not known; did you mean weight\?",
        ),
        ("weight = 0.5", "late = { penalty = 1 }", "line 5: .*late is not known; .* title, weight, deadline"),
        ("item = 2", "item = 0", r"line 11: .*items\.item is 0; give it more points than 0"),
        ("item = 2", "item = inf", r"line 11: .*items\.item is inf"),
        ("essay = 1", "item = 1", r"\['item'\] stand in items and in reports"),
        ("512MiB", "lots", "line 9: .*'lots' is not a size"),
        ('"512MiB"', "512", "line 9: .*memory is 512; write a text in quotes"),
        ('memory = "512MiB"', "gpus = 2", "line 9: .*gpus is 2; it must be 1 at most: .* one GPU, alone"),
        ('memory = "512MiB"', "gpus = -1", "line 9: .*gpus is -1; it must not be negative"),
        ('memory = "512MiB"', "gpus = true", "line 9: .*gpus is true; write a whole number"),
        ('memory = "512MiB"', 'gpus = "1"', "line 9: .*gpus is '1'; write a whole number without quotes"),
        ('memory = "512MiB"', "gpu = 1", "line 9: .*gpu is not known; did you mean gpus?"),
        ('item = "work.py"', 'item = "play.py"', "line 13: modules say item = 'play.py'"),
        ('["work.py"]', '"work.py"', r"line 8: .*files is 'work\.py'; write a list"),
        ('["work.py"]', '[\n"work.py",\n"/etc/x"]', r"line 8: .*'/etc/x' lies outside"),
        ('"part1"', '"part1.ipynb"', "line 7: .*without its ending"),
        ("parts.1", "parts.one", "line 6: .*a part is called by a number"),
        ("[assignments.hw]", '[assignments."hw[1]"]', r"line 4: the assignment 'hw\[1\]' cannot have '\['"),
        ("[course]", "[course", "line 2, '\\[course': not valid TOML"),
    ],
)
def test_a_wrong_value_is_named_with_its_file_and_line(tmp_path, old, new, says):
    write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(CourseError, match=says) as caught:
        Course.load(tmp_path)
    assert f"{tmp_path / 'course.toml'}: " in str(caught.value)
    assert "\n" not in str(caught.value)


LATE = GOOD + "[grades]\nthresholds = { A = 0.85, B = 0.5 }\n[late]\npenalty_per_day = 0.1\n"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("penalty_per_day = 0.1", "penalty_per_day = 10", r"late\.penalty_per_day is 10; .*\(10 % is 0\.1\)"),
        (
            "penalty_per_day = 0.1",
            "penalty_per_day = -0.1",
            r"late\.penalty_per_day is -0\.1; .* between 0 and 1",
        ),
        ("penalty_per_day = 0.1", 'penalty_per_day = "10 %"', r"late\.penalty_per_day is '10 %'"),
        ("penalty_per_day = 0.1", "penalty_per_dya = 0.1", "did you mean penalty_per_day?"),
        ("penalty_per_day = 0.1", "max_days = -1", r"late\.max_days is -1; it must not be negative"),
        (
            "penalty_per_day = 0.1",
            "grace_minutes = 00:15:00",
            r"late\.grace_minutes is 00:15:00; write a number",
        ),
        ("A = 0.85", "A = 85", r"thresholds\.A is 85; .*\(85 % is 0\.85\)"),
        ("A = 0.85", "A = 0.5", "thresholds.B is 0.5; so is A"),
        ("[late]", "[lates]", "lates is not known; did you mean late?"),
    ],
)
def test_a_penalty_or_a_threshold_that_nobody_can_mean_is_refused(tmp_path, old, new, says):
    write(tmp_path, LATE.replace(old, new))
    with pytest.raises(CourseError, match=rf"course\.toml: line 1[5-9]: .*{says}"):
        Course.load(tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2027-02-15T23:59:00", "2027-02-15T23:59:00+00:00"),
        ("2027-02-15 23:59:00", "2027-02-15T23:59:00+00:00"),
        ("2027-02-15T23:59:00Z", "2027-02-15T23:59:00+00:00"),
        ("2027-02-15T23:59:00+05:30", "2027-02-15T18:29:00+00:00"),
        ("2027-02-15T23:59:00-08:00", "2027-02-16T07:59:00+00:00"),
    ],
)
def test_a_deadline_means_the_same_moment_on_every_machine(tmp_path, written, meant, monkeypatch):
    write(tmp_path, GOOD.replace("weight = 0.5", f"deadline = {written}"))
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert Course.load(tmp_path).assignment("hw").deadline == datetime.fromisoformat(meant)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "written",
    ["2027-02-15", '"2027-02-15"', "15.02.2027", "2027-2-15", "2027-02-15 23:59", "Feb 15, 2027", "2027-02-30",
     "23:59:00", "20270215", "0027-02-15", "[2027-02-15]", "2027-02-15T23:59:00+1"],
)  # fmt: skip
def test_a_deadline_that_is_no_date_is_refused_in_one_sentence_with_its_line(tmp_path, written):
    write(tmp_path, GOOD.replace("weight = 0.5", f"deadline = {written}"))
    with pytest.raises(CourseError, match=r"course\.toml: line 5.*deadline") as caught:
        Course.load(tmp_path)
    assert "2027-02-15T23:59:00Z" in str(caught.value) or "the year must" in str(caught.value)


def test_a_file_from_windows_is_read_and_one_in_another_encoding_is_named(tmp_path):
    write(tmp_path, GOOD)
    (tmp_path / "course.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert Course.load(tmp_path).assignment("hw").part(1).files == ("work.py",)
    (tmp_path / "course.toml").write_bytes(GOOD.replace("C", "\u00dc").encode("cp1252"))
    with pytest.raises(CourseError, match=r"course\.toml: not UTF-8 .*save it as UTF-8"):
        Course.load(tmp_path)


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
