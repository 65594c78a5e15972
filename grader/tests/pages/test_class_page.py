"""The page on the class tells an instructor what waits, what went wrong and what to look at, and runs nothing."""

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from grader.book.nbgrader_course import NbCourse
from grader.book.results import Graded, Score
from grader.course import CourseError
from grader.examine.report import CheckResult, Report
from grader.notebooks.unusual import MOST, file_notes, quotes
from grader.pages.class_page import (
    OTHER,
    forgeable_points,
    kind_of,
    notes_by_kind,
    summary,
    undecided_cases,
    unread_cells,
)
from grader.pages.failures import check_counts, shape, ways_of_failing
from grader.steps.grade import grade


def check(name, verdict, why="", **more):
    return CheckResult(name, "ring", float(verdict == "pass"), 1, verdict, why, **more)


def graded(student, *checks, notes=(), cells=None, **more):
    return Graded(student, 1.0, 3.0, {"part1": Report(list(checks))}, list(notes), cells=cells or {}, **more)


def test_the_check_that_fails_most_comes_first_with_its_usual_reason():
    results = [
        graded("a", check("one", "pass"), check("two", "fail", "off by 1", hidden=True)),
        graded("b", check("one", "fail", "too slow"), check("two", "fail", "off by 1", hidden=True)),
        graded("c", check("one", "undecided"), check("two", "pass", hidden=True)),
    ]
    two, one = check_counts(results)
    assert (two.name, two.passed, two.failed, two.undecided) == ("ring: two (hidden)", 1, 2, 0)
    assert two.whys == Counter({"off by 1": 2})
    assert (one.passed, one.failed, one.undecided) == (1, 1, 1)
    assert two.usual == ("off by 1", 2)
    more = [graded(name, check("two", "fail", f"off by {name}")) for name in ("7", "8", "9")]
    assert check_counts([*results, *more])[0].usual == ("off by 1", 5)
    assert check_counts([graded("a", check("one", "pass"))])[0].usual == ("", 0)


def test_cells_of_a_plain_notebook_count_as_checks_and_reports_do_not():
    cells = {("nb", "test"): Score(1, 2, 1.0, None, False), ("nb", "essay"): Score(0, 2, None, None, True)}
    (count,) = check_counts([Graded("a", cells=cells), Graded("b", cells=cells)])
    assert (count.name, count.passed, count.failed) == ("nb: test", 0, 2)
    assert unread_cells([Graded("a", cells=cells), Graded("b", cells=cells)]) == [("nb", "essay", 2)]


def test_a_failed_test_of_a_plain_notebook_stands_without_its_reason():
    cells = {("nb", "test"): Score(0, 2, 0.0, None, False), ("nb", "fine"): Score(1, 1, 1.0, None, False)}
    # A reason of an earlier run, of a test that has its points now, is none.
    whys = {("nb", "test"): "NameError: no f", ("nb", "fine"): "old"}
    results = [Graded(name, cells=cells, whys=whys) for name in "ab"]
    failed, fine = check_counts(results)
    assert failed.whys == Counter({"NameError: no f": 2})
    assert fine.whys == Counter()
    (way,) = ways_of_failing(results, {("a", "nb"): "where"})
    assert (way.where, way.sentence, way.students) == ("nb: test", "NameError: no f", {"a": "where", "b": ""})


def test_one_mistake_of_many_students_is_told_as_many():
    def of(student, *checks):
        return graded(student, *checks)

    results = [
        # The same mistake in two checks, with other numbers: one student, one way.
        of("a", check("one", "fail", "rank 3 sent 17 bytes"), check("two", "fail", "rank 0 sent 4 bytes")),
        of("b", check("one", "fail", "rank 3 sent 17 bytes"), check("two", "pass")),
        of("c", check("one", "fail", "'ring.py' is missing"), check("two", "undecided", "too noisy")),
        of("d", check("one", "pass"), check("two", "fail", "'<b>.py' is missing", hidden=True)),
        of("e", check("one", "fail", "raised KeyError"), check("two", "pass")),
    ]
    missing, bytes_, alone = ways_of_failing(results, {})
    assert (bytes_.sentence, list(bytes_.students)) == ("rank 3 sent 17 bytes", ["a", "b"])
    assert list(bytes_.checks) == ["one", "two"]
    assert bytes_.says.total() == 2
    assert (list(missing.students), list(missing.checks)) == (["c", "d"], ["one", "two (hidden)"])
    assert (list(alone.students), alone.shared) == (["e"], False)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("took 1.5 s, 2e-3 allowed", "took 17 s, 1e-9 allowed", True),
        ("expected [1, 2]", "expected [3, -4]", True),
        ("layer2 is wrong", "layer3 is wrong", False),
        ("raised KeyError: 'a'", "raised KeyError: 'b'", True),
        ("raised KeyError", "raised ValueError", False),
        ("is off by nan", "is off by 0.5", True),
        ("ranks 0, 1, 2 did not answer", "rank 3 did not answer", True),
        ("rank 0 raised KeyError", "raised KeyError", True),
        ("information is missing", "nan is missing", False),
    ],
)
def test_other_mistakes_are_one_way_or_one_mistake_is_many(one, other, same):
    assert (shape(one) == shape(other)) is same


def test_who_failed_alike_in_an_earlier_year_is_counted_twice_or_not_at_all(
    released_course, hand_in, one_examiner, tmp_path
):
    hand_in("ann", "def total(x):\n    return 7\n\n\ndef spread(x):\n    return max(x) - min(x)\n")
    grade(released_course, "hw1")
    folder = tmp_path / "last year" / ".grader" / "hw1"
    folder.mkdir(parents=True)
    kept = (released_course / ".grader" / "hw1" / "ann.json").read_text()
    (folder / "old1.json").write_text(kept)
    (folder / "old2.json").write_text(kept.replace("is off by 7", "is off by 8"))
    (folder / "old3.json").write_text(kept.replace('"fail"', '"pass"'))
    (folder / "trials.json").write_text("{}")
    (folder / "other.json").write_text('{"a": 1}')
    before = sorted(folder.parent.parent.rglob("*"))
    text = summary(released_course, "hw1", past=[tmp_path / "last year"]).read_text()
    assert "how many of 3 students of earlier years failed so" in text
    assert re.search(r'<td class="n">1</td><td class="n">2</td><td>part1_sums: total</td>', text)
    assert sorted(folder.parent.parent.rglob("*")) == before
    assert "earlier years" not in summary(released_course, "hw1").read_text()
    with pytest.raises(CourseError, match="no records of hw1; name the course root of an earlier year"):
        summary(released_course, "hw1", past=[tmp_path])


def test_an_undecided_case_waits_until_a_person_gave_points():
    slow = check("fast", "undecided", "the interval holds the threshold")
    waits = graded("a", slow, cells={("part1", "ring"): Score(0, 1, 0.0, None, True)})
    settled = graded("b", slow, cells={("part1", "ring"): Score(1, 1, 0.0, 1.0, False)})
    (case,) = undecided_cases([waits, settled], {("a", "part1"): "where"})
    assert (case.student, case.link) == ("a", "where")
    assert case.what == ["ring, fast: the interval holds the threshold"]


def test_points_that_can_be_forged_are_told_once_and_are_no_note():
    note = "problem1: its tests share the student's interpreter: these points can be forged"
    results = [
        graded(name, check("hooks", "pass", forgeable="a hook counts"), notes=[note]) for name in "abc"
    ]
    assert forgeable_points(results, check_counts(results)) == [
        "ring: hooks: a hook counts",
        f"{note} (3 submissions)",
    ]
    assert notes_by_kind(results, {}) == {}
    isolated = [graded("d", notes=["problem1: 7 of 7 points isolated"])]
    assert forgeable_points(isolated, []) == []
    assert notes_by_kind(isolated, {}) == {}


UNUSUAL = {
    "with open('gradebook.db') as book: pass": "gradebook",
    "sys.displayhook = lambda value: None": "machinery",
    "frame = sys._getframe(1)": "frames",
    "torch.allclose = lambda *a, **k: True": "comparison",
    "setattr(np, 'isclose', yes)": "comparison",
    "time.perf_counter = fake": "clocks",
    "open('/proc/self/mem', 'rb')": "processes",
    "shutil.rmtree('/')": "deleting",
    "socket.create_connection(('10.0.0.1', 80))": "network",
}


@pytest.mark.parametrize("line", UNUSUAL)
def test_an_unusual_line_is_quoted_with_its_place(line):
    (note,) = quotes("sums.py", f"import sys\n{line}\n")
    assert note.startswith("sums.py, line 2 is about")
    assert UNUSUAL[line] in note
    assert line in note
    assert kind_of(note) == "Code about the grading itself"


@pytest.mark.parametrize(
    "line",
    [
        "assert torch.allclose(a, b)",
        "start = time.perf_counter()",
        "equal = np.array_equal(a, b)",
        "# see gradebook.db",
        "result = torch.equal(x, y) == True",
    ],
)
def test_ordinary_code_gives_no_note(line):
    assert list(quotes("sums.py", line)) == []


def test_lines_of_the_course_are_not_held_against_a_student_and_many_notes_are_cut():
    course = "frame = sys._getframe()\n"
    assert list(quotes("a.py", course, course)) == []
    assert len(list(quotes("a.py", "x = sys._getframe(0)\n" * 50))) == MOST


def test_files_that_replace_or_configure_are_noted(tmp_path):
    theirs, course = tmp_path / "theirs", tmp_path / "course"
    theirs.mkdir()
    course.mkdir()
    names = ["torch.py", "random.py", "conftest.py", "a.pth", "nbgrader_config.py", "sums.py", "mine.py"]
    for name in names:
        (theirs / name).write_text("x = 1\n")
    (course / "sums.py").write_text("")
    notes = file_notes(theirs, names, course)
    assert [note.partition(":")[0] for note in notes] == names[:5]
    assert {kind_of(note) for note in notes} == {"Files that replace, configure or run"}


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = Counter()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        assert not [name for name, _ in attributes if name.startswith("on")]


def test_the_page_of_a_real_class_is_whole_and_runs_nothing(released_course, hand_in, one_examiner):
    hand_in("ann")
    hand_in("bob", "def total(x):\n    return '<script>alert(1)</script>'\n")
    eve = hand_in("eve", "import sys\nhook = sys._getframe()  # <img src=x onerror=alert(1)>\n")
    (eve / "<svg onload=alert(1)>.pth").write_text("x")
    grade(released_course, "hw1")
    text = summary(released_course, "hw1", formgrader="https://hub.example/formgrader/").read_text()
    tags = Tags(text).tags
    assert tags["script"] == tags["img"] == 0
    assert tags["svg"] == tags["figure"] == 3
    assert "spread_of_equal_numbers_secretly" in text  # it is for instructors
    assert "the sum is a value of type str" in text
    assert "sums.py, line 2 is about the caller" in text
    gradebook = NbCourse.open(released_course).gradebook()
    identity = gradebook.find_submission_notebook("part1_sums", "hw1", "eve").id
    gradebook.close()
    assert f'href="https://hub.example/formgrader/submissions/{identity}/"' in text
    assert "Nothing waits for a person" in text
    assert OTHER not in text


def test_a_class_of_one_without_a_score_still_has_a_page(released_course, hand_in):
    hand_in("ann")
    text = summary(released_course, "hw1").read_text()
    assert "not graded yet; run grader grade" in text


def test_a_page_on_nobody_is_refused_in_a_sentence(released_course):
    with pytest.raises(CourseError, match="no submission of hw1"):
        summary(released_course, "hw1")


def test_grading_a_class_and_drawing_its_page_do_without_torch():
    """It would be most of what the examiner costs, in seconds and in memory."""
    code = "import sys, grader.steps.grade, grader.pages.class_page, effdl.plots; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
