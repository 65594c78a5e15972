"""What runs again after a change, what does not, and what `grade --explain` says of it."""

import json
from types import SimpleNamespace

import pytest

from grader.book import keys as cache
from grader.book.records import load
from grader.runners import local
from grader.runners.work import Work
from grader.sandbox.packed import Packed
from grader.steps.grade import explain, grade
from grader.tests.conftest import RIGHT

pytestmark = pytest.mark.usefixtures("one_examiner")

CHECKS = (
    *("total_adds", "spread_is_a_difference"),
    *("total_of_the_empty_list_secretly", "spread_of_equal_numbers_secretly"),
)


@pytest.fixture
def graded(released_course, hand_in):
    hand_in("ann")
    grade(released_course, "hw1")
    return released_course


def ran(course):
    """Return the names of the checks that the last run ran, by the submission's log."""
    log = (course / ".grader" / "hw1" / "logs" / "ann.log").read_text()
    last = [line for line in log.splitlines() if "; ran " in line][-1].partition("; ran ")[2]
    return {name for name in CHECKS if name in last}


def hidden(course):
    return course / "source" / "hw1" / "checks" / "part1_hidden.py"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def sentences(course):
    return {name: line for line in explain(course, "hw1", "ann") for name in CHECKS if name in line}


def test_a_changed_check_runs_alone_and_the_others_keep_their_verdicts_and_seeds(graded):
    before = load(graded, "hw1", "ann")
    edit(hidden(graded), 'sub.call("sums:total", [])', 'sub.call("sums:total", [0])')
    told = sentences(graded)
    assert "would run: the check, or code that it shares" in told.pop("total_of_the_empty_list_secretly")
    assert all("would not run" in line for line in told.values())
    (result,) = grade(graded, "hw1")
    assert ran(graded) == {"total_of_the_empty_list_secretly"}
    assert result.score == 4
    after = load(graded, "hw1", "ann")
    part = "part1_sums"
    assert [c["name"] for c in after.reports[part]["checks"]] == list(CHECKS)
    seeds = {name: after.keys[part][name]["seed"] == before.keys[part][name]["seed"] for name in CHECKS}
    assert seeds == {name: name != "total_of_the_empty_list_secretly" for name in CHECKS}
    assert all("would not run" in line for line in sentences(graded).values())


def test_a_check_that_grows_stricter_takes_its_points_back(graded):
    edit(hidden(graded), "result, 0, of=", "result, 1, of=")
    (result,) = grade(graded, "hw1")
    assert result.score == 4 - 2.5  # both hidden checks expect a 0
    assert ran(graded) == {"total_of_the_empty_list_secretly", "spread_of_equal_numbers_secretly"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("sums.py", "\n# changed\n"), ("checks/helper.py", "x = 1\n"), ("checks/part1_driver.py", "")],
)
def test_what_checks_share_runs_them_all_when_it_changes(graded, name, text):
    path = graded / "source" / "hw1" / name
    path.write_text((path.read_text() if path.exists() else "") + text)
    grade(graded, "hw1")
    assert ran(graded) == set(CHECKS)


def test_another_date_of_submission_is_recorded_and_runs_nothing(graded):
    (graded / "submitted" / "ann" / "hw1" / "timestamp.txt").write_text("2030-01-01 12:00:00 UTC\n")
    lines = explain(graded, "hw1", "ann")
    assert all("would not run" in line for line in lines[1:-1])
    assert "would be written" in lines[-1]
    (result,) = grade(graded, "hw1")
    assert ran(graded) == set()
    assert result.score == pytest.approx(4 * 0.9)


def test_a_deleted_gradebook_is_filled_again_without_running(graded):
    from grader.steps.release import release

    (graded / "gradebook.db").unlink()
    release(graded, "hw1")
    (result,) = grade(graded, "hw1")
    assert ran(graded) == set()
    assert result.score == 4


def test_what_was_left_undecided_runs_again(released_course, hand_in):
    edit(hidden(released_course), 'sub.call("sums:total", [])', 'sub.call("sums:total", []).no')
    hand_in("ann")
    grade(released_course, "hw1")
    assert "the last run left it error" in sentences(released_course)["total_of_the_empty_list_secretly"]
    grade(released_course, "hw1")
    assert ran(released_course) == {"total_of_the_empty_list_secretly"}


def test_a_kept_result_that_cannot_be_read_counts_as_none(graded):
    (graded / ".grader" / "hw1" / "ann.json").write_text('{"student": "ann", "ru')
    assert all("never graded" in line for line in sentences(graded).values())
    (result,) = grade(graded, "hw1")
    assert (result.unchanged, result.score) == (False, 4)


def test_new_limits_and_another_environment_run_everything(graded, monkeypatch):
    toml = graded / "course.toml"
    toml.write_text(toml.read_text() + '[assignments.hw1.parts.1.machine]\nmemory = "1GiB"\n')
    assert all("the limits on memory or time" in line for line in sentences(graded).values())
    monkeypatch.setattr("grader.runners.work.environment_digest", lambda: "another")
    assert all("an installed package" in line for line in sentences(graded).values())


def test_a_check_depends_on_the_checks_that_it_calls_and_no_others(tmp_path):
    text = (
        "from grader.checks import check\nA = 1\n\n\n@check(item='x', points=1)\ndef one(sub):\n    '''1'''\n"
    )
    text += "\n\n@check(item='x', points=1)\ndef two(sub):\n    '''2'''\n    one(sub)\n\n\nB = 2\n"
    shared, functions = cache.split_checks(text, tmp_path)
    assert set(functions) == {"one", "two"}
    assert "A = 1" in shared
    assert "B = 2" in shared
    assert "def" not in shared
    assert functions["two"].startswith("@check")


def digest(folder):
    packed = Packed(folder)
    packed.close()
    return packed.digest


def test_a_file_named_like_a_folder_that_is_skipped_is_part_of_what_a_verdict_follows_from(tmp_path):
    digests = set()
    for name in ("venv", "inner/timestamp.txt", ".git", "inner/checks/a.py"):
        for text in ("a", "b"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
            digests.add(digest(tmp_path))
    assert len(digests) == 8
    (tmp_path / "timestamp.txt").write_text("2026-11-29 00:00:00 UTC\n")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "x.js").write_text("x")
    assert digest(tmp_path) in digests
    packed = Packed(tmp_path)
    assert sorted(packed.names) == [".git", "inner/checks/a.py", "inner/timestamp.txt", "venv"]
    packed.close()


def test_a_notebook_too_large_to_be_packed_is_part_of_what_its_verdict_follows_from(tmp_path):
    shared = SimpleNamespace(
        part=lambda name: None, keys={"lab": {cache.PLAIN: cache.Key("", "c", "e", "l")}}
    )
    with Work(shared, "ann", tmp_path, None, None, Packed(tmp_path), {"lab": "one"}) as work:
        before = work.keys("lab")
        work.notebooks["lab"] = "another"
        assert work.keys("lab") != before


def test_what_changes_while_it_is_graded_is_judged_as_it_was_read(released_course, hand_in, monkeypatch):
    module = hand_in("ann", "def total(x):\n    return 0\n") / "sums.py"
    wrong = module.read_text()

    def swapped(work, examiner, **options):
        module.write_text(RIGHT)
        done = local_grade(work, examiner, **options)
        module.write_text(wrong)
        return done

    local_grade = local.grade_one
    monkeypatch.setattr(local, "grade_one", swapped)
    assert grade(released_course, "hw1")[0].score < 4
    monkeypatch.undo()
    assert (released_course / "autograded" / "ann" / "hw1" / "sums.py").read_text() == wrong
    assert grade(released_course, "hw1")[0].score < 4


def test_a_check_follows_from_the_checks_of_the_checks_that_it_calls_and_from_any_file(sample_course):
    from grader.course import Course

    part = Course.load(sample_course).assignment("hw1").part(1)
    more = "\n\n@check(item='total', points=0)\ndef {}(sub):\n    '''S.'''\n    {}\n"
    public = part.checks_public
    text = public.read_text() + more.format("first", "second(sub)") + more.format("second", "third(sub)")
    public.write_text(text + more.format("third", "pass"))
    (part.source / "checks" / "table.bin").write_bytes(b"\x80")
    (part.source / "checks" / "words.txt").write_text("no Python (")
    before = cache.check_digests(part)
    public.write_text(text + more.format("third", "assert sub"))
    assert cache.check_digests(part)["first"] != before["first"]
    assert cache.check_digests(part)["total_adds"] == before["total_adds"]
    (part.source / "checks" / "table.bin").write_bytes(b"\x81")
    assert cache.check_digests(part)["total_adds"] != before["total_adds"]


def test_a_log_keeps_a_line_of_a_students_on_one_line(graded):
    from grader.book.records import log_run

    log_run(graded, "hw1", "ann", ["note: a\nforged: line\x1b[2J \u202e"])
    last = (graded / ".grader" / "hw1" / "logs" / "ann.log").read_text().splitlines()[-1]
    assert last.endswith("note: a\\nforged: line\\x1b[2J \\u202e")


def test_the_kept_result_holds_no_name_of_a_file_outside_the_course(graded):
    text = json.dumps(load(graded, "hw1", "ann").keys)
    assert str(graded) not in text
