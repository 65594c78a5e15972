"""Notebooks out of Markdown and stubs out of solutions."""

import os
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.course import Course, CourseError
from grader.lean import nbformat
from grader.notebooks.source import (
    build_assignment,
    build_notebook,
    is_given,
    is_stale,
    solution_of,
    solution_regions,
    strip_solutions,
    validate,
)

MODULE = '''
import math


class Norm:
    ### BEGIN SOLUTION
    momentum = 0.1
    ### END SOLUTION

    def forward(self, x):
        """Normalise."""
        ### BEGIN SOLUTION
        def helper(y):
            return y
        return helper(x)
        ### END SOLUTION

    def outer(self):
        def inner():
            ### BEGIN SOLUTION
            return 1
            ### END SOLUTION
        return inner


### BEGIN SOLUTION
def private():
    return math.pi
### END SOLUTION
'''


def test_each_region_becomes_the_stub_of_the_function_it_stands_in():
    stub = strip_solutions(MODULE)
    assert 'raise NotImplementedError("not implemented yet: Norm.forward")' in stub
    assert '            raise NotImplementedError("not implemented yet: Norm.outer.inner")' in stub
    assert stub.count("NotImplementedError") == 2


def test_no_text_of_a_solution_is_left_in_the_stub():
    stub = strip_solutions(MODULE)
    for secret in ("SOLUTION", "momentum", "helper", "private", "math.pi"):
        assert secret not in stub


def test_a_stub_imports_and_fails_when_it_is_called():
    names = {}
    exec(strip_solutions(MODULE), names)
    with pytest.raises(NotImplementedError, match=r"not implemented yet: Norm\.forward"):
        names["Norm"]().forward(1)


def test_a_module_without_solutions_is_released_byte_for_byte():
    text = "x = 1\r\ny = 2\n\n\n"
    assert strip_solutions(text) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("### BEGIN SOLUTION\nx = 1\n", "never closed"),
        ("x = 1\n### END SOLUTION\n", "without BEGIN"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION\n", "inside a solution"),
        ("def f(:\n### BEGIN SOLUTION\n### END SOLUTION\n", "valid Python"),
        ("class A:\n    ### BEGIN SOLUTION\n    x = 1\n    ### END SOLUTION\n", "does not compile"),
    ],
)
def test_what_cannot_be_released_is_refused_with_file_and_line(text, says):
    with pytest.raises(CourseError, match=says) as caught:
        strip_solutions(text, "allreduce.py")
    assert "allreduce.py" in str(caught.value)


@given(st.lists(st.tuples(st.sampled_from(["function", "method", "module"]), st.integers(1, 4)), max_size=6))
def test_whatever_the_layout_the_stub_compiles_and_holds_no_solution(regions):
    blocks = []
    for index, (kind, length) in enumerate(regions):
        body = "\n".join(f"secret_{index}_{line} = {line}" for line in range(length))
        region = f"### BEGIN SOLUTION\n{body}\n### END SOLUTION"
        if kind == "function":
            region = f"def f{index}():\n" + textwrap.indent(region, "    ")
        if kind == "method":
            region = f"class C{index}:\n    def m(self):\n" + textwrap.indent(region, "        ")
        blocks.append(region)
    stub = strip_solutions("\n\n".join(blocks))
    compile(stub, "stub", "exec")
    assert "secret" not in stub
    assert stub.count("raise NotImplementedError") == sum(kind != "module" for kind, _ in regions)


def sample_part(course):
    return Course.load(course).assignment("hw1").part(1)


def test_check_and_report_cells_carry_the_metadata_that_nbgrader_reads(sample_course):
    from nbgrader.nbgraderformat import MetadataValidator

    notebook = build_notebook(sample_part(sample_course))
    MetadataValidator().validate_nb(notebook)
    nbformat.validate(notebook)
    cells = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    found = {
        name: (cell.cell_type, cell.metadata.nbgrader.points, cell.metadata.nbgrader.solution)
        for name, cell in cells.items()
    }
    assert found == {
        "total": ("code", 3, False),
        "spread": ("code", 1, False),
        "essay": ("markdown", 2, True),
        "plot": ("code", 1, True),
    }
    assert all(cell.metadata.nbgrader.grade for cell in cells.values())


def test_the_same_text_gives_the_same_bytes(sample_course):
    part = sample_part(sample_course)
    assert nbformat.writes(build_notebook(part)) == nbformat.writes(build_notebook(part))


def test_only_a_changed_notebook_is_written_again(sample_course):
    assignment = Course.load(sample_course).assignment("hw1")
    part = assignment.part(1)
    assert is_stale(part)
    assert len(build_assignment(assignment)) == 1
    assert build_assignment(assignment) == []
    assert not is_stale(part)
    text = part.source / "part1_sums.md"
    text.write_text(text.read_text() + "\nMore.\n")
    os.utime(text, (1e9, 1e9))
    assert is_stale(part)
    assert len(build_assignment(assignment)) == 1
    os.utime(text)
    assert not is_stale(part)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("points=3", "points=4", r"total has points=4 here and 3 in course.toml"),
        ('check="spread"', 'check="range"', r"'range' is not in course.toml"),
        ('```python check="spread"', "```python", r'0 cells with check="spread"'),
        ('report="plot"', 'report="essay"', r"2 cells with report=\"essay\"|0 cells"),
    ],
)
def test_a_notebook_that_disagrees_with_course_toml_is_refused(sample_course, old, new, says):
    path = sample_course / "source" / "hw1" / "part1_sums.md"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CourseError, match=says) as caught:
        build_notebook(sample_part(sample_course))
    assert "part1_sums.md" in str(caught.value)


def test_the_sample_course_is_valid(sample_course):
    assert validate(Course.load(sample_course).assignment("hw1")) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("checks/part1_public.py", "points=1,", "points=2,", "add up to 4 points, course.toml says 3"),
        ("checks/part1_hidden.py", 'item="total"', 'item="spread"', "no check of total"),
        ("checks/part1_hidden.py", "def total_of_the_empty_list_secretly", "def total_adds", "are called"),
        ("sums.py", "### END SOLUTION", "", "BEGIN SOLUTION"),
    ],
)
def test_an_assignment_whose_points_or_files_do_not_fit_is_named(sample_course, file, old, new, says):
    path = sample_course / "source" / "hw1" / file
    path.write_text(path.read_text().replace(old, new))
    problems = validate(Course.load(sample_course).assignment("hw1"))
    assert any(says in problem for problem in problems), problems


def test_a_solution_in_a_file_that_no_part_lists_is_named(sample_course):
    # nbgrader would copy it over into what students get back.
    extra = sample_course / "source" / "hw1" / "extra.py"
    extra.write_text("### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n")
    problems = validate(Course.load(sample_course).assignment("hw1"))
    assert any("extra.py" in problem for problem in problems)


BUGGY = """def mean(numbers):
    total = sum(numbers)
    ### BEGIN SOLUTION
    return total / len(numbers)
    ### GIVEN
    # if not numbers:
    #     return 0
    # return total / 2
    ### END SOLUTION
"""


def test_students_get_the_bug_in_place_of_the_solution():
    names: dict = {}
    exec(strip_solutions(BUGGY), names)
    assert (names["mean"]([]), names["mean"]([1, 2, 3])) == (0, 3)
    assert "len(numbers)" not in strip_solutions(BUGGY)
    assert is_given(BUGGY)
    assert not is_given(MODULE)


def test_a_bug_is_no_part_of_the_solution_that_must_not_get_out():
    (region,) = solution_regions(BUGGY)
    assert solution_of(BUGGY, region).strip() == "return total / len(numbers)"


def test_a_stand_in_does_not_get_the_bug():
    assert "total / 2" not in strip_solutions(BUGGY, instead=lambda function: "return None")
