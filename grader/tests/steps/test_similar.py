"""Solutions that are alike are found whatever their names, what all were given is not, and no text of theirs runs."""

import shutil
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from grader.cli import app
from grader.course import CourseError
from grader.lean import nbformat
from grader.steps import similar as module
from grader.steps.similar import similar
from grader.whole_files import folder_alike

pytest.importorskip("copydetect")

LONG = '''
def total(numbers):
    """<script>alert(1)</script>"""
    table, order = {}, []
    for place, number in enumerate(numbers):
        table.setdefault(place % 7, []).append(number)
        order.append((place, number))
    while len(table) > 1:
        first, second = sorted(table)[:2]
        table[first] = [*table[first], *table.pop(second)]
    return sum(sum(some) for some in table.values()) if order else 0


def spread(numbers):
    least, most = None, None
    for number in numbers:
        least = number if least is None or number < least else least
        most = number if most is None or number > most else most
    return most - least
'''
# The same with other names, texts and comments, and a beginning of its own.
COPY = "import math  # \u202emine\nA = math.pi ** 2 + 1\nB = [A * i for i in range(10) if i % 3]\n" + (
    LONG.replace("table", "buckets").replace("order", "seen").replace("number", "x").replace("least", "low")
).replace("<script>alert(1)</script>", "</pre><img src=x onerror=alert(2)>")
OTHER = """
from functools import reduce
from itertools import accumulate


def total(numbers):
    return list(accumulate(numbers, initial=0))[-1]


def spread(numbers):
    ordered = sorted(numbers)
    lowest = reduce(lambda a, b: a if a < b else b, ordered)
    try:
        return ordered[-1] - lowest
    except IndexError as error:
        raise ValueError("no numbers") from error
"""


@pytest.fixture
def graded(released_course):
    """Return a function that leaves what grading a student's file would leave."""

    def make(student, text, name="sums.py"):
        for step in ("submitted", "autograded"):
            folder = released_course / step / student / "hw1"
            folder.mkdir(parents=True)
        (folder / name).write_text(text, encoding="utf-8")

    return make


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_a_copy_with_other_names_is_missed_or_honest_work_is_shown(released_course, graded):
    graded("ann", LONG)
    graded("bob", COPY)
    graded("eve", OTHER)
    found = similar(released_course, "hw1")
    (pair,) = found.pairs
    assert (pair.students, pair.file, found.compared) == (("ann", "bob"), "sums.py", 3)
    assert pair.shares[0] > 0.9  # all of ann's is in bob's, who has more
    assert 0.6 < pair.shares[1] < pair.shares[0]
    ours = "".join(text for text, alike in pair.sides[0] if alike)
    assert "table.setdefault(place % 7" in ours
    assert "".join(text for text, _ in pair.sides[1]) == COPY.strip("\n")
    assert ours.endswith("return most - least")  # to the letter
    assert "math.pi" not in "".join(text for text, alike in pair.sides[1] if alike)
    page = Page(found.page.read_text())
    assert not page.tags & {"script", "img", "a"}
    assert "</pre><img src=x onerror=alert(2)>" in "".join(page.texts)
    assert "\u202e" not in "".join(page.texts)
    assert found.page.stat().st_mode & 0o077 == 0


def test_what_was_released_or_what_a_class_has_alike_counts_as_copied(released_course, graded):
    (released_course / "release" / "hw1" / "sums.py").write_text(LONG)
    graded("ann", LONG)
    graded("bob", LONG + "\n\nX = 1\n")
    assert similar(released_course, "hw1").pairs == []
    shutil.copy(
        released_course / "source" / "hw1" / "sums.py", released_course / "release" / "hw1" / "sums.py"
    )
    assert len(similar(released_course, "hw1").pairs) == 1
    for number in range(8):
        graded(f"s{number}", LONG)
    assert similar(released_course, "hw1").pairs == []


def test_one_hostile_solution_stops_the_comparison_of_all_others(released_course, graded, monkeypatch):
    graded("ann", LONG)
    graded("bob", LONG)
    graded("long", "x = 1\n" * module.LONGEST)
    graded("slow", LONG)
    real = module.call

    def call(target, texts, seconds):
        if call.count == 4:
            raise module.Ended("takes more than 20 s")
        call.count += 1
        return real(target, texts, seconds=seconds)

    call.count = -1  # the first one is what was released
    graded("link", LONG, name="other.py")
    (released_course / "autograded" / "link" / "hw1" / "sums.py").symlink_to(
        released_course / "autograded" / "ann" / "hw1" / "sums.py"
    )
    monkeypatch.setattr(module, "call", call)
    found = similar(released_course, "hw1")
    assert [pair.students for pair in found.pairs] == [("ann", "bob")]
    assert found.left_out == ["long, sums.py: longer than 200000 characters", "slow: takes more than 20 s"]


def test_answers_of_a_plain_notebook_are_compared_without_its_tests(tmp_path):
    root = folder_alike(tmp_path / "course", 0o755)
    (root / "nbgrader_config.py").write_text("c = get_config()\n")

    def role(name, **flags):
        given = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3}
        return {"nbgrader": {**given, "grade_id": name, **flags}}

    test = nbformat.v4.new_code_cell(
        "assert total([]) == 0\n" * 40, metadata=role("t", grade=True, locked=True)
    )
    for student, text in {"ann": LONG, "bob": LONG, "eve": OTHER}.items():
        answer = nbformat.v4.new_code_cell(text, metadata=role("a", solution=True))
        for step in ("submitted", "autograded"):
            folder = root / step / student / "ps1"
            folder.mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=[answer, test]), folder / "p1.ipynb")
    (pair,) = similar(root, "ps1").pairs
    assert (pair.students, pair.file) == (("ann", "bob"), "p1.ipynb")
    assert "assert total" not in "".join(text for text, _ in pair.sides[0])


def test_the_command_calls_a_hint_a_verdict_or_says_nothing_of_an_ungraded_class(released_course, graded):
    with pytest.raises(CourseError, match="no graded submission of hw1"):
        similar(released_course, "hw1")
    graded("ann", LONG)
    graded("bob", COPY)
    said = CliRunner().invoke(app, ["similar", "hw1", "--course", str(released_course)])
    assert said.exit_code == 0
    assert "1 pair is alike, of 2 solutions. A hint, no verdict:" in said.output
