"""nbgrader's own settings count as they count in nbgrader, and what it says reaches the instructor."""

import json
import logging
import sqlite3

import pytest
from traitlets.config import Config

from grader.book import settings
from grader.book.nbgrader_course import NbCourse, run_converter
from grader.course import CourseError, course_around
from grader.lean import nbformat
from grader.notebooks import limits
from grader.notebooks.plan import make_plan, steps_of
from grader.notebooks.template import Template, without
from grader.runners.work import verdict_keys
from grader.steps.collect.ours import own_texts, refuse_own
from grader.steps.collect.room import Refused
from grader.steps.release import release

CODE = nbformat.v4.new_code_cell


@pytest.fixture
def plain(tmp_path):
    """Return a function that makes a course without course.toml, with one test, and returns its root."""

    def make(folder="course", config="", cells=None, assignment="ps1", metadata=None, **files):
        root = tmp_path / folder
        source = root / "source" / assignment
        source.mkdir(parents=True)
        role = {"schema_version": 3, "task": False}
        answer = {**role, "grade": False, "solution": True, "locked": False, "grade_id": "a"}
        test = {**role, "grade": True, "solution": False, "locked": True, "grade_id": "t", "points": 1}
        cells = cells or [
            CODE("### BEGIN SOLUTION\nx = 1\n### END SOLUTION", metadata={"nbgrader": answer}),
            CODE("assert x == 1", metadata={"nbgrader": test}),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata or {}), source / "p1.ipynb")
        if config:
            (root / "nbgrader_config.py").write_text(f"c = get_config()\n{config}\n")
        for name, text in files.items():
            (root / name.replace("__", ".")).write_text(text)
        return root

    return make


# --- files --------------------------------------------------------------------------------------------------


def test_a_json_configuration_counts_and_overrules_the_one_in_python(plain):
    told = {"CourseDirectory": {"submitted_directory": "in_json", "course_id": "j"}}
    config = (
        "c.CourseDirectory.submitted_directory = 'in_python'\nc.CourseDirectory.release_directory = 'out'"
    )
    root = plain(config=config, nbgrader_config__json=json.dumps(told))
    course = NbCourse.open(root)
    assert course.path("submitted", "ann", "ps1") == root / "in_json" / "ann" / "ps1"
    assert course.path("release", ".", "ps1") == root / "out" / "ps1"
    assert course.folders.course_id == "j"
    (root / "nbgrader_config.py").unlink()
    assert NbCourse.open(root).path("submitted", "ann", "ps1") == root / "in_json" / "ann" / "ps1"


@pytest.mark.parametrize(
    "told",
    [
        {"CourseDirectory": {"submitted_directory": "handed_in"}},
        {"CourseDirectory": {"feedback_directory": "handed_in/back", "source_directory": "src"}},
        {"NbGrader": {"autograded_directory": "handed_in"}},
    ],
)
def test_students_work_in_a_folder_that_a_json_file_names_is_no_course(plain, told):
    root = plain(nbgrader_config__json=json.dumps(told))
    inside = root / "handed_in" / "eve" / "ps1"
    inside.mkdir(parents=True)
    (inside / "nbgrader_config.json").write_text("{}")
    assert course_around(inside) == root
    with pytest.raises(CourseError, match="lies among the students' files"):
        NbCourse.open(inside)


@pytest.mark.parametrize("text", ["[]", "{", '{"CourseDirectory": 3}', "[" * 100_000, "\xff"])
def test_a_json_file_that_is_no_configuration_leads_nobody_out_of_a_course(plain, text):
    root = plain(nbgrader_config__json=text)
    assert course_around(root / "submitted" / "eve") == root
    assert course_around(root / "source") is None


def test_options_under_their_older_names_count(plain):
    root = plain(config="c.NbGrader.source_directory = 'masters'\nc.BaseApp.release_directory = 'public'")
    course = NbCourse.open(root)
    assert course.path("source", ".", "ps1") == root / "masters" / "ps1"
    assert course.path("release", ".", "ps1") == root / "public" / "ps1"


def test_the_settings_of_the_user_count_where_the_course_has_none(plain, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "nbgrader_config.json").write_text('{"Execute": {"timeout": 77}}')
    (home / "jupyter_config.py").write_text(
        "c.Execute.timeout = 5\nc.ClearHiddenTests.begin_test_delimeter = 'BH'"
    )
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(home))
    assert NbCourse.open(plain()).cell_seconds == 77
    course = NbCourse.open(plain("own", config="c.Execute.timeout = 88"))
    assert course.cell_seconds == 88
    assert course.marks["hidden"] == ("BH", "END HIDDEN TESTS")


def test_what_lies_in_the_current_folder_configures_nothing(plain, tmp_path, monkeypatch):
    there = tmp_path / "submission"
    there.mkdir()
    (there / "nbgrader_config.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (there / "jupyter_config.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    root = plain(config="c.NbGrader.course_id = 'x'")
    monkeypatch.chdir(there)
    NbCourse.open(root)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"nbgrader_config__py": "c = get_config()\nc.A.b = thirty"}, r"config\.py, line 2: NameError: .*thirty"),
        ({"nbgrader_config__py": "c = get_config(\n"}, r"config\.py, line 1: SyntaxError"),
        ({"nbgrader_config__py": "import json\njson.loads('{')"}, r"config\.py, line 2: JSONDecodeError"),
        ({"nbgrader_config__json": '{"Execute": '}, r"config\.json: JSONDecodeError: .*line 1 column"),
        ({"nbgrader_config__json": '{"version": 7}'}, r"config\.json: ValueError: Unknown version"),
        ({"nbgrader_config__py": "c.CourseDirectory.source_directory = 5"}, "'source_directory' trait .* expected"),
        ({"nbgrader_config__py": "c.CourseDirectory.db_url = 'gradebook.db'"}, "Could not parse"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_used_is_one_sentence_with_its_line(plain, files, says):
    with pytest.raises(CourseError, match=says) as caught:
        NbCourse.open(plain(**files))
    assert "\n" not in str(caught.value)


# --- how long a cell may run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ("", 30),
        ("c.Execute.timeout = 60", 60),
        ("c.ExecutePreprocessor.timeout = 60", 60),
        ("c.NotebookClient.timeout = 60", 60),
        ("c.ExecutePreprocessor.timeout = 60\nc.Execute.timeout = 90", 90),
        ("c.Execute.timeout = -1", limits.NO_LIMIT),
        ("c.Execute.timeout = None", limits.NO_LIMIT),
        ("c.Execute.timeout = 0", limits.NO_LIMIT),
        ("c.ExecutePreprocessor.timeout = -5", limits.NO_LIMIT),
        ("c.Execute.timeout = 10 ** 30", limits.NO_LIMIT),
    ],
)
def test_a_cell_may_run_as_long_as_in_nbgrader(plain, config, seconds):
    # jupyter/nbgrader#1463: None or -1 is no limit; #1004: the name of the parent class counts
    assert NbCourse.open(plain(config=config)).cell_seconds == seconds


def test_each_cell_may_have_a_limit_of_its_own(plain):
    function = "lambda cell: {'a': 7, 'b': None}.get(cell.source, 0.5)"
    config = f"c.Execute.timeout = 5\nc.ExecutePreprocessor.timeout_func = {function}"
    seconds = NbCourse.open(plain(config=config)).cell_seconds
    cells = [CODE(source) for source in ("a", "b", "c")]
    assert limits.of_cells(seconds, cells) == [7, limits.NO_LIMIT, 0.5]
    assert limits.of_cells(2.0, cells) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "config", ["c.Execute.timeout = '60'", "c.Execute.timeout = 1.5", "c.Execute.timeout_func = 9"]
)
def test_a_limit_that_nbgrader_would_not_accept_is_refused_in_a_sentence(plain, config):
    course = NbCourse.open(plain(config=config))
    with pytest.raises(CourseError, match=r"nbgrader's configuration: .*timeout"):
        _ = course.cell_seconds


def test_a_function_that_gives_no_number_stops_its_submission_only(plain):
    seconds = NbCourse.open(plain(config="c.Execute.timeout_func = lambda cell: 'long'")).cell_seconds
    with pytest.raises(ValueError, match="timeout_func gives 'long'"):
        limits.of_cells(seconds, [CODE("a")])


def test_a_course_with_long_cells_has_a_long_notebook():
    assert limits.of_all([]) == limits.of_all([1.0, 30.0]) == 300
    assert limits.of_all([1.0, 60.0]) == 600
    assert limits.of_all([limits.NO_LIMIT]) == limits.NO_LIMIT


# --- marks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "marks", "left"),
    [
        (
            "a\n### BEGIN HIDDEN TESTS\nb\n### END HIDDEN TESTS\nc",
            ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS"),
            "a\nc",
        ),
        ("a\n# (* geheim\nb\n# geheim *)", ("(* geheim", "geheim *)"), "a"),
        ("a\n#<<\nb\n#>>\nc\n#<<\nd\n#>>", ("<<", ">>"), "a\nc"),
        ("a\n#DÉBUT\nb", ("DÉBUT", "FIN"), "a"),  # nothing of what was to be hidden is shown
        ("a\n#END\nb", ("BEGIN", "END"), "a\n#END\nb"),
    ],
)
def test_a_cell_without_its_hidden_tests_is_what_nbgrader_releases(text, marks, left):
    assert without(text, marks) == left
    if text.count(marks[0]) == text.count(marks[1]):
        from nbgrader.preprocessors import ClearHiddenTests

        cell = CODE(text)
        clear = ClearHiddenTests(begin_test_delimeter=marks[0], end_test_delimeter=marks[1])
        clear._remove_hidden_test_region(cell)
        assert cell.source == left


def test_the_marks_are_those_of_the_configuration(plain):
    config = (
        "c.ClearHiddenTests.end_test_delimeter = 'EH'\nc.ClearMarkScheme.begin_mark_scheme_delimeter = 'BM'"
    )
    course = NbCourse.open(plain(config=f"{config}\nc.ClearSolutions.begin_solution_delimeter = 'BS'"))
    assert course.marks == {"hidden": ("BEGIN HIDDEN TESTS", "EH"), "scheme": ("BM", "END MARK SCHEME")}
    assert settings.solution_marks(course.config) == ("BS", "END SOLUTION")
    with pytest.raises(CourseError, match="a delimiter of ClearHiddenTests is 3"):
        settings.hidden_marks(Config({"ClearHiddenTests": {"begin_test_delimeter": 3}}))


OWN = "c.ClearHiddenTests.begin_test_delimeter = 'VERSTECKT'\nc.ClearHiddenTests.end_test_delimeter = 'OFFEN'"
TEST = "assert x == 1\n# VERSTECKT\nassert x > 0, 'SECRET'\n# OFFEN"


@pytest.fixture
def own_marks(plain):
    role = {"schema_version": 3, "grade": True, "solution": False, "locked": True, "task": False}
    return plain(
        config=OWN, cells=[CODE(TEST, metadata={"nbgrader": {**role, "grade_id": "t", "points": 1}})]
    )


def test_feedback_leaves_out_hidden_tests_between_marks_of_the_courses_own(own_marks):
    # jupyter/nbgrader#681
    from grader.book.nbgrader_plugin import HideHiddenTests

    output = nbformat.v4.new_output("error", ename="AssertionError", evalue="SECRET", traceback=["SECRET"])
    notebook = nbformat.v4.new_notebook(cells=[CODE(TEST, outputs=[output])])
    HideHiddenTests(config=NbCourse.open(own_marks).config).preprocess(notebook, {})
    assert "SECRET" not in nbformat.writes(notebook)
    assert notebook.cells[0].source == "assert x == 1"


def test_the_students_interpreter_gets_no_test_between_marks_of_the_courses_own():
    cells = [CODE(TEST, metadata={"nbgrader": {"grade": True, "solution": False, "grade_id": "t"}})]
    notebook = nbformat.v4.new_notebook(cells=cells)
    plan = make_plan(Template("p1", cells, {}, judges_files=False), notebook)
    (step,) = steps_of(plan, notebook, ("VERSTECKT", "OFFEN"))
    assert step["released"] == "assert x == 1"


def test_who_hands_in_hidden_tests_between_marks_of_the_courses_own_has_the_courses_file(own_marks, tmp_path):
    texts = own_texts(NbCourse.open(own_marks), "ps1")
    ours, theirs = own_marks / "source" / "ps1" / "p1.ipynb", tmp_path / "p1.ipynb"
    with pytest.raises(Refused, match=r"holds hidden tests of p1\.ipynb"):
        refuse_own(texts, {"p1.ipynb": ours})
    theirs.write_text(ours.read_text().replace("VERSTECKT", ""))
    refuse_own(texts, {"p1.ipynb": theirs})


def test_a_changed_configuration_in_json_lets_plain_notebooks_run_again(plain):
    root = plain()
    templates = {"p1": Template("p1", [], {}, judges_files=False)}
    digests = set()
    for text in (None, '{"a": 1}', '{"a": 2}'):
        if text:
            (root / "nbgrader_config.json").write_text(text)
        keys = verdict_keys(NbCourse.open(root), "ps1", templates, "namespaces", 30.0)
        digests.add(keys["p1"][""].check)
    assert len(digests) == 3


# --- kernels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "language"),
    [
        ({}, "python"),
        ({"name": "python3", "display_name": "Python 3"}, "python"),
        ({"name": "x", "language": "python"}, "python"),
        ({"name": "conda-env-dl-py", "display_name": "dl"}, "python"),
        ({"name": "ir", "language": "R"}, "r"),
        ({"name": "julia-1.10", "language": "julia"}, "julia"),
        ({"name": "python3", "language": "C++17"}, "c++17"),
        ({"name": "bash"}, ""),
        ({"name": "octave"}, ""),
        ({"language": "SQL"}, "sql"),
    ],
)
def test_the_language_of_a_notebook_follows_from_its_kernel(spec, language):
    assert settings.language_of(spec) == language


@pytest.mark.drawn(3)
@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}},
        {"kernelspec": {"name": "julia-1.10", "display_name": "Julia"}, "language_info": {"name": "julia"}},
        {"language_info": {"name": "scala"}},
        {"kernelspec": {"name": "gnuoctave", "display_name": "Octave"}},
    ],
)
def test_a_notebook_for_another_kernel_is_neither_released_nor_graded(plain, metadata):
    from nbgrader.converters import GenerateAssignment

    from grader.steps.grade import grade

    stubs = "c.ClearSolutions.code_stub = dict.fromkeys(['R', 'julia', 'python', ''], 'stop')"
    root = plain(config=stubs, metadata=metadata)
    with pytest.raises(
        CourseError, match=r"p1\.ipynb is for the kernel .* only notebooks in Python can be graded"
    ):
        release(root, "ps1")
    assert not (root / "release").exists()
    assert not (root / "gradebook.db").exists()
    course = NbCourse.open(root)
    course.gradebook().close()
    course.choose("ps1")
    run_converter(GenerateAssignment(coursedir=course.folders, config=course.config), "releasing")
    (root / "submitted" / "ann" / "ps1").mkdir(parents=True)
    with pytest.raises(CourseError, match="only notebooks in Python can be graded"):
        grade(root, "ps1")


def test_a_kernel_that_the_course_names_overrules_that_of_the_notebook():
    config = Config({"Execute": {"kernel_name": "python3"}})
    settings.refuse_other_languages(config, "ps1", {"p1": {"name": "my-kernel-of-2019"}})
    with pytest.raises(CourseError, match=r"for the kernel my-kernel-of-2019, of which no language is known"):
        settings.refuse_other_languages(Config(), "ps1", {"p1": {"name": "my-kernel-of-2019"}})


# --- names --------------------------------------------------------------------------------------------------


TWICE = "{student_id}/{nbgrader_step}/{assignment_id}-{student_id}"


@pytest.mark.parametrize("assignment", ["ps (1)", "a.b", "hw1^2", "a|b", "{1}", "ps $1", "Übung 3"])
@pytest.mark.parametrize("structure", ["", "{nbgrader_step}/{assignment_id}/{student_id}", TWICE])
def test_a_name_is_no_expression(plain, assignment, structure):
    # jupyter/nbgrader#1738
    root = plain(
        "a (b) {c}", config=f"c.CourseDirectory.directory_structure = {structure!r}" if structure else ""
    )
    course = NbCourse.open(root)
    for student, other in (("ann", assignment), ("bob (2)", assignment), ("eve", "a_b"), ("eve", "ps 1")):
        course.path("submitted", student, other).mkdir(parents=True, exist_ok=True)
    assert list(course.submissions(assignment)) == ["ann", "bob (2)"]
    assert course.submissions(assignment)["ann"] == course.path("submitted", "ann", assignment)


@pytest.mark.parametrize("folder", ["course [2026]", "what?", "a*b"])
def test_a_folder_that_nbgrader_takes_for_a_pattern_is_named(plain, folder):
    # jupyter/nbgrader#1843
    with pytest.raises(CourseError, match=r"takes .* in a folder's name for a pattern; rename it"):
        NbCourse.open(plain(folder))


def test_a_folder_of_the_course_that_is_a_pattern_is_named(plain):
    with pytest.raises(CourseError, match=r"takes \[ or \] in a folder's name for a pattern"):
        NbCourse.open(plain(config="c.CourseDirectory.release_directory = 'out [students]'"))


@pytest.mark.parametrize("name", ["ps[1]", "ps*", "a+b"])
def test_an_assignment_that_nbgrader_cannot_have_is_refused_in_a_sentence(plain, name):
    with pytest.raises(CourseError, match="rename"):
        release(plain(assignment=name), name)


# --- the gradebook ------------------------------------------------------------------------------------------


@pytest.mark.drawn(3)
@pytest.mark.parametrize(
    ("age", "lacks"),
    [
        ("alter table notebook drop column kernelspec", "notebook.kernelspec"),  # before 0.5
        ("alter table student drop column lms_user_id", "student.lms_user_id"),  # before 0.7
        ("alter table grade drop column extra_credit", "grade.extra_credit"),
        ("drop table task_cells", "task_cells"),
    ],
)
def test_a_gradebook_of_an_older_nbgrader_is_left_as_it_is_and_the_remedy_is_named(plain, age, lacks):
    # jupyter/nbgrader#720
    root = plain()
    NbCourse.open(root).gradebook().close()
    with sqlite3.connect(root / "gradebook.db") as database:
        database.execute(age)
        database.execute("delete from alembic_version")
    before = (root / "gradebook.db").read_bytes()
    says = rf"gradebook\.db was made by an older nbgrader \(it has no {lacks}\): back it up.*`nbgrader db upgrade`"
    with pytest.raises(CourseError, match=says):
        NbCourse.open(root).gradebook()
    assert (root / "gradebook.db").read_bytes() == before


def test_a_gradebook_that_is_none_is_named_in_a_sentence(plain):
    root = plain(gradebook__db="this is no database, but a text of some length" * 30)
    with pytest.raises(CourseError, match=r"gradebook\.db cannot be read: file is not a database"):
        NbCourse.open(root).gradebook()
    away = plain("away", config="c.CourseDirectory.db_url = 'sqlite:////no/such/folder/gradebook.db'")
    with pytest.raises(CourseError, match="gradebook"):
        NbCourse.open(away).gradebook()


# --- what nbgrader says -------------------------------------------------------------------------------------


def test_older_metadata_is_said_with_the_reason_and_the_command(plain):
    # jupyter/nbgrader#1086
    role = {
        "schema_version": 1,
        "grade": True,
        "solution": False,
        "locked": True,
        "grade_id": "t",
        "points": 1,
    }
    root = plain(cells=[CODE("assert x", metadata={"nbgrader": role})])
    with pytest.raises(
        CourseError, match=r"old version of the nbgrader metadata format.*back up.*nbgrader update"
    ) as caught:
        release(root, "ps1")
    assert "p1.ipynb" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("### BEGIN HIDDEN TESTS\nassert x", r"p1\.ipynb: RuntimeError: No end hidden tests statement found"),
        ("### BEGIN SOLUTION\nx = 1", r"p1\.ipynb: No end solution statement"),
        ("### BEGIN MARK SCHEME\nx", r"p1\.ipynb: RuntimeError: .*no end mark scheme"),
    ],
)
def test_what_is_wrong_with_a_cell_is_said_with_its_notebook_and_nothing_else(plain, text, says):
    role = {"schema_version": 3, "grade": True, "solution": False, "locked": True, "task": False}
    root = plain(cells=[CODE(text, metadata={"nbgrader": {**role, "grade_id": "t", "points": 1}})])
    with pytest.raises(CourseError, match=f"(?i){says}") as caught:
        release(root, "ps1")
    assert "above traceback" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_setting_that_a_converter_refuses_is_a_sentence(plain):
    with pytest.raises(CourseError, match=r"nbgrader says: .*'enforce_metadata' trait"):
        release(plain(config="c.ClearSolutions.enforce_metadata = 'no'"), "ps1")


class Converter:
    """One of nbgrader's, that logs what it is given and fails."""

    def __init__(self, *messages):
        self.log, self.messages = logging.getLogger("a converter of nbgrader's"), messages

    def start(self):
        from nbgrader.converters.base import NbGraderException

        for level, *message in self.messages:
            self.log.log(level, *message)
        raise NbGraderException("the last word")


TRACEBACK = """Traceback (most recent call last):
  File "x", line 1, in f
    g()
    ^^^
KeyError: 1
 2"""


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "the last word"),
        ([(logging.ERROR, "one\ntwo\n\nthree\n")], "one two three"),
        ([(logging.ERROR, "a"), (logging.ERROR, "b"), (logging.ERROR, "a")], "a b"),
        ([(logging.INFO, "Converting notebook %s", "/x/p2.ipynb"), (logging.ERROR, "no")], "p2.ipynb: no"),
        ([(logging.ERROR, TRACEBACK)], "KeyError: 1 2"),
        ([(logging.ERROR, "x" * 9000)], "x" * 2000 + " ..."),
    ],
)
def test_of_what_nbgrader_logs_all_is_said_in_one_line(messages, says):
    converter = Converter(*messages)
    level = converter.log.level
    with pytest.raises(CourseError) as caught:
        run_converter(converter, "releasing")
    assert str(caught.value) == f"releasing: nbgrader says: {says}"
    assert converter.log.level == level
