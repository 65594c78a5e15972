import ast
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.course import CourseError
from grader.edits import apply_edits
from grader.notebooks.wrong import wrong_solutions

ORIGINAL = '''"""Sums."""
import math

TWICE = [0]
ALSO = [0]


def total(numbers: list[int]) -> int:
    """Return the sum."""
    result = 0
    for number in numbers:
        if number:
            result += number

    return result


class Mean:
    def of(self, numbers):
        return total(numbers) / len(numbers)
'''
ENTRY = """file = "sums.py"

[loses_zero]
mistake = "begins at 1"
caught_by = "total_adds"
edits = [['result = 0', 'result = 1']]
"""


@pytest.fixture
def folder(tmp_path):
    """A folder for TOML files, beside the original that they change."""
    (tmp_path / "sums.py").write_text(ORIGINAL)
    (tmp_path / "wrong").mkdir()
    return tmp_path / "wrong"


def entry(changes):
    return f'file = "sums.py"\n[one]\nmistake = "m"\ncaught_by = "c"\n{changes}\n'


def text_of(folder, changes):
    (folder / "sums.toml").write_text(entry(changes))
    (one,) = wrong_solutions(folder)
    return one.text


def test_an_entry_says_what_is_wrong_and_who_must_notice(folder):
    (folder / "sums.toml").write_text(ENTRY + 'needs = "namespaces"\n')
    (one,) = wrong_solutions(folder)
    assert (one.name, one.file, one.mistake) == ("loses_zero", "sums.py", "begins at 1")
    assert (one.caught_by, one.needs) == ("total_adds", "namespaces")
    assert one.text == ORIGINAL.replace("result = 0", "result = 1")


def test_entries_of_several_files_come_sorted_by_name(folder):
    (folder / "a.toml").write_text(ENTRY)
    (folder / "b.toml").write_text(ENTRY.replace("loses_zero", "adds_one"))
    assert [one.name for one in wrong_solutions(folder)] == ["adds_one", "loses_zero"]


def test_several_edits_are_made_at_once(folder):
    text = text_of(
        folder, "edits = [['result = 0', 'result = 1'], ['import math', ''], ['len(numbers)', '2']]"
    )
    assert "result = 1" in text
    assert "import math" not in text
    assert "return total(numbers) / 2" in text


@pytest.mark.parametrize("margin", ["", "    ", "\t"])
def test_a_text_moves_to_the_indentation_of_the_place(margin):
    old = textwrap.indent("if number:\n    result += number", margin)
    new = textwrap.indent("if number > 1:\n    result -= number\n\nelse:\n    pass", margin)
    changed = "        if number > 1:\n            result -= number\n\n        else:\n            pass\n"
    assert changed in apply_edits(ORIGINAL, [[f"\n{old}\n", f"\n{new}\n"]])


def test_new_lines_in_the_place_of_an_expression_are_indented_as_its_line():
    changed = apply_edits(ORIGINAL, [["result += number", "result += number\nresult += 1"]])
    assert "            result += number\n            result += 1\n" in changed


def test_a_body_is_replaced_and_signature_and_docstring_stay(folder):
    text = text_of(
        folder, "body.total = '''\nif numbers:\n    return 1\nreturn 0'''\nbody.Mean.of = 'return 0'"
    )
    assert '-> int:\n    """Return the sum."""\n    if numbers:\n        return 1\n    return 0\n\n' in text
    assert text.endswith("    def of(self, numbers):\n        return 0\n")


def test_a_body_that_begins_with_a_decorated_function_is_replaced_whole():
    original = "def f():\n    @staticmethod\n    def g():\n        return 1\n    return g  # here\n"
    assert apply_edits(original, bodies={"f": "return 2"}) == "def f():\n    return 2\n"


def test_another_program_stands_in_a_file_of_its_own(folder):
    (folder / "other.py").write_text("def total(numbers):\n    return 0\n")
    assert text_of(folder, 'whole = "other.py"') == "def total(numbers):\n    return 0\n"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("edits = [['result = 2', '']]", "'result = 2' does not stand there; write what stands there now"),
        ("edits = [['= [0]', '= [1]']]", r"the old text '= \[0\]' stands there 2 times; make it longer"),
        ("edits = [['', 'x']]", "an edit's old text is empty"),
        ("edits = [['result = 0', 'result = 0  # at first']]", "the result is the same program"),
        ("edits = [['result = 0', 'result = (']]", "the result is no Python: .*; correct it"),
        ("edits = [['import math', 'return']]", "the result is no Python: 'return' outside function"),
        (
            "edits = [['result = 0', 'a'], ['  result = 0', 'b']]",
            "'a' and 'b' come in the same place; join them",
        ),
        (
            "edits = [['result = 0', 'a']]\nbody.total = 'return 0'",
            "'a' and 'return 0' come in the same place",
        ),
        ("edits = [['result = 0']]", "edits is no list of pairs"),
        ("edits = ['result = 0', '1']", "edits is no list of pairs"),
        ("body.count = 'return 0'", "it has no function count, or several; name one as f or Class.f"),
        ("body.Mean.off = 'return 0'", "it has no function Mean.off"),
        ("body.Mean = 'pass'", "Mean is a class; name one of its functions, as Mean.f"),
        ("body.total = 0", "body is no table of texts"),
        ("body = 'return 0'", "body is no table of texts"),
        ('whole = "gone.py"', "whole = 'gone.py' is not in"),
        ('whole = "gone.py"\nedits = []', "needs edits, or body, or both, or else whole"),
        ("", "needs edits, or body, or both, or else whole"),
        ("edit = [['result = 0', '1']]", "has the unknown key 'edit'; there are: mistake, caught_by, needs"),
        ("edits = []\nneeds = 3", "mistake, caught_by, needs and whole are texts"),
    ],
)
def test_an_entry_that_does_not_fit_is_named_with_its_file(folder, changes, says):
    (folder / "sums.toml").write_text(entry(changes))
    with pytest.raises(CourseError, match=says) as caught:
        wrong_solutions(folder)
    assert str(caught.value).startswith(f"{folder / 'sums.toml'}: [one]")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[one", "not valid TOML"),
        ("[one]\n", "begin it with file = and the name of the file that its entries change"),
        ('file = "sum.py"\n', "file = 'sum.py' is not in .*; name a file that is"),
        (
            'file = "sums.py"\nmistake = "m"\n',
            "'mistake' is no table; write file, and then one table per mistake",
        ),
        ('file = "sums.py"\n[one]\nmistake = "m"\n', r"\[one\] lacks caught_by; add a line with it"),
        ('file = "sums.py"\n[one]\nmistake = ""\ncaught_by = "c"\n', r"\[one\] lacks mistake"),
    ],
)
def test_a_malformed_file_is_named(folder, text, says):
    (folder / "sums.toml").write_text(text)
    with pytest.raises(CourseError, match=says) as caught:
        wrong_solutions(folder)
    assert str(caught.value).startswith(f"{folder / 'sums.toml'}: ")


def test_a_name_in_two_files_is_refused(folder):
    (folder / "a.toml").write_text(ENTRY)
    (folder / "b.toml").write_text(ENTRY)
    with pytest.raises(CourseError, match=r"b.toml: \[loses_zero\] stands in another file too"):
        wrong_solutions(folder)


def test_an_original_that_is_no_python_is_named(folder):
    (folder.parent / "sums.py").write_text("def total(:\n")
    (folder / "sums.toml").write_text(ENTRY)
    with pytest.raises(CourseError, match=r"sums.py: it is no Python: .*; correct it"):
        wrong_solutions(folder)


def test_a_file_that_no_entry_names_is_not_passed_over(folder):
    (folder / "sums.toml").write_text(ENTRY)
    (folder / "stray.py").write_text("")
    with pytest.raises(CourseError, match=r"stray.py: no entry names it"):
        wrong_solutions(folder)


PLACES = ["import math", "result = 0", "if number:\n    result += number", "return result", "total(numbers)"]


@given(
    chosen=st.lists(st.sampled_from(PLACES), unique=True, min_size=1),
    order=st.randoms(use_true_random=False),
    margin=st.sampled_from(["", "  ", "        "]),
)
def test_neither_order_nor_margin_of_edits_matters(chosen, order, margin):
    edits = [[textwrap.indent(old, margin), textwrap.indent(f"{old}\n", margin)] for old in chosen]
    assert apply_edits(ORIGINAL, edits) == ORIGINAL  # each text was put back exactly where it stood
    edits = [[old, f"place_{PLACES.index(old)}"] for old in chosen]
    result = apply_edits(ORIGINAL, edits)
    order.shuffle(edits)
    assert apply_edits(ORIGINAL, edits) == result
    names = {node.id for node in ast.walk(ast.parse(result)) if isinstance(node, ast.Name)}
    assert {new for _, new in edits} <= names
