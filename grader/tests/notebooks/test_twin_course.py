"""Plain notebooks of a course: when the modes are decided, where they are kept, and what graders and students see."""

import shutil

import pytest

from grader.bench import against_nbgrader as bench
from grader.book.nbgrader_course import NbCourse, run_converter
from grader.course import CourseError
from grader.lean import nbformat
from grader.notebooks import PROGRAMS
from grader.notebooks.template import grade_id
from grader.steps.grade import grade

pytestmark = pytest.mark.usefixtures("one_examiner")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("plain") / "course"
    bench.build_course(root, 2)
    return root


@pytest.fixture
def course(built, tmp_path):
    shutil.copytree(built, tmp_path / "course")
    return tmp_path / "course"


def modes_file(course):
    return course / ".grader" / bench.ASSIGNMENT / "modes" / f"{bench.NOTEBOOK}.json"


def change_source(course, edit):
    path = course / "source" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    edit(notebook)
    nbformat.write(notebook, path)


def test_modes_of_a_release_by_nbgrader_are_decided_once_before_the_first_submission(course, capsys):
    grade(course, bench.ASSIGNMENT)
    assert "of 6 tests 6 isolated" in capsys.readouterr().out
    before = modes_file(course).read_text()
    grade(course, bench.ASSIGNMENT, force=True)
    assert "tests" not in capsys.readouterr().out
    assert modes_file(course).read_text() == before


def test_a_changed_reference_makes_old_modes_stale(course, capsys):
    grade(course, bench.ASSIGNMENT)
    capsys.readouterr()

    def edit(notebook):
        cell = next(cell for cell in notebook.cells if "def moving_average" in cell.source)
        cell.source += "\nextra = 1"

    change_source(course, edit)
    grade(course, bench.ASSIGNMENT)
    assert "of 6 tests 6 isolated" in capsys.readouterr().out


def test_where_the_instructors_notebook_is_gone_the_modes_of_the_release_hold(course, capsys):
    grade(course, bench.ASSIGNMENT)
    shutil.rmtree(course / "source")
    (result, *_) = grade(course, bench.ASSIGNMENT, force=True)
    assert f"{bench.NOTEBOOK}: 7 of 7 points isolated" in result.notes
    modes_file(course).unlink()
    (result, *_) = grade(course, bench.ASSIGNMENT, force=True)
    assert any("these points can be forged" in note for note in result.notes)


def test_a_graded_notebook_says_of_each_test_where_it_ran(course):
    grade(course, bench.ASSIGNMENT)
    path = course / "autograded" / "student000" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    tests = [cell for cell in nbformat.read(path, as_version=4).cells if grade_id(cell).startswith("test_")]
    assert {cell.metadata.grader["where"] for cell in tests} == {"isolated"}


def test_a_forged_notebook_gains_in_no_isolated_test(course):
    path = course / "submitted" / "student000" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "def " in cell.source:
            cell.source = (
                "import torch, builtins, sys\n"
                "class Any:\n    def __eq__(self, other): return True\n    def __len__(self): return 8\n"
                "softmax = moving_average = count_parameters = lambda *a: Any()\n"
                "torch.allclose = lambda *a, **k: True\nsys.displayhook = lambda value: None\n"
            )
        cell.metadata["tags"] = ["skip-execution", "compare-in-student"]
    nbformat.write(notebook, path)
    (result,) = grade(course, bench.ASSIGNMENT, students=["student000"])
    # One test asks for nothing but a length, and that is what it gets.
    assert result.score <= 1


@pytest.fixture
def releases(examiner, monkeypatch):
    """Return `release`, with the session's examiner and what it said."""
    from grader.examine import examiner as module
    from grader.steps.release import release

    class Shared:
        def __init__(self, isolation, *, programs):
            assert (isolation, programs) == ("auto", PROGRAMS)

        def __enter__(self):
            return examiner

        def __exit__(self, *_):
            """The session closes it."""

    def run(course):
        said = []
        with monkeypatch.context() as patch:
            patch.setattr(module, "Examiner", Shared)
            release(course, bench.ASSIGNMENT, said.append)
        return said

    return run


def test_nbgraders_own_command_isolates_the_same_tests(built, released_course, releases):
    from nbgrader.converters import Autograde

    place = f"source/{bench.ASSIGNMENT}"
    shutil.copytree(built / place, released_course / place)
    assert f"{bench.NOTEBOOK}: of 6 tests 6 isolated" in releases(released_course)
    work = released_course / "submitted" / "ada" / bench.ASSIGNMENT
    shutil.copytree(built / "submitted" / "student000" / bench.ASSIGNMENT, work)
    opened = NbCourse.open(released_course)
    opened.folders.assignment_id, opened.folders.student_id = bench.ASSIGNMENT, "ada"
    run_converter(Autograde(coursedir=opened.folders, config=opened.config), "autograding")
    path = released_course / "autograded" / "ada" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    tests = [cell for cell in nbformat.read(path, as_version=4).cells if grade_id(cell).startswith("test_")]
    assert {cell.metadata.grader["where"] for cell in tests} == {"isolated"}


def test_release_says_which_tests_share_the_interpreter_and_why(course, releases):
    def edit(notebook):
        cell = next(cell for cell in notebook.cells if grade_id(cell) == "test_average_length")
        cell.source = "import inspect\nassert inspect.getsource(moving_average)"

    change_source(course, edit)
    said = releases(course)
    assert f"{bench.NOTEBOOK}: of 6 tests 5 isolated, 1 shared" in said
    assert any("test_average_length shares" in line and "getsource()" in line for line in said)
    (result, *_) = grade(course, bench.ASSIGNMENT)
    assert any("test_average_length" in note and "6 of 7 points isolated" in note for note in result.notes)


def test_release_refuses_a_test_that_gives_the_reference_less_than_nbgrader_does(course, releases, tmp_path):
    (tmp_path / "outside.txt").write_text("a file that no worker sees")

    def edit(notebook):
        cell = next(cell for cell in notebook.cells if grade_id(cell) == "test_average_length")
        cell.source = f"assert open({str(tmp_path / 'outside.txt')!r}).read()"

    change_source(course, edit)
    with pytest.raises(
        CourseError, match=r"test_average_length gives the reference 0 of .*, and .* under nbgrader"
    ):
        releases(course)


def test_each_release_says_of_a_reference_that_it_fails_also_when_nothing_has_changed(course, releases):
    def edit(notebook):
        cell = next(cell for cell in notebook.cells if grade_id(cell) == "test_average_length")
        cell.source = "assert moving_average is None, 'nobody passes'"

    change_source(course, edit)
    for _ in range(2):
        lost = [
            line for line in releases(course) if "test_average_length gives the reference itself 0 of" in line
        ]
        assert len(lost) == 1
        assert "nobody passes" in lost[0]


def test_a_limit_on_memory_that_is_no_size_is_refused_in_one_sentence(course):
    with (course / "nbgrader_config.py").open("a") as config:
        config.write("\nc.Examine.memory = '6 gigs'\n")
    with pytest.raises(CourseError, match=r"c\.Examine\.memory is '6 gigs'; write a number and"):
        grade(course, bench.ASSIGNMENT)
