"""What a command imports: not what it does not need. Seconds depend on the machine; modules do not."""

import json
import shutil
import subprocess
import sys
import zipfile

import pytest

from grader.bench import against_nbgrader as bench
from grader.sandbox import zygote
from grader.steps.grade import grade

# Packages that take a tenth of a second and more, and what is behind them in nbgrader.
HEAVY = {
    *(
        "torch",
        "numpy",
        "scipy",
        "pandas",
        "matplotlib",
        "jinja2",
        "IPython",
        "jupyter_server",
        "jupyter_client",
    ),
    *(
        "nbconvert",
        "nbclient",
        "bs4",
        "mistune",
        "bleach",
        "requests.sessions",
        "isoduration",
        "rfc3987_syntax",
        "setuptools",
    ),
    *("nbgrader.server_extensions", "nbgrader.preprocessors", "nbgrader.converters", "nbgrader.apps"),
    *("grader.examine.examiner", "grader.sandbox.zygote", "grader.bench"),
}
GRADEBOOK = {"nbgrader", "nbformat", "jsonschema", "sqlalchemy", "traitlets", "tornado"}
RUN = """
import json, sys
from grader.cli import main
try:
    main()
except SystemExit as ended:
    print(json.dumps([ended.code, sorted(sys.modules)]))
"""


def run(*arguments, **options):
    """Run a command in a process of its own; return what it printed and the modules that it had imported."""
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, **options)
    *printed, last = done.stdout.splitlines()
    code, modules = json.loads(last)
    assert code in (0, None), done.stdout
    return "\n".join(printed), set(modules)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("lean") / "course"
    bench.build_course(root, 3)
    return root


@pytest.fixture
def graded(built, tmp_path, one_examiner):
    """A class that was graded, and nothing has changed since, its page written."""
    from grader.pages.class_page import summary

    shutil.copytree(built, tmp_path / "course")
    grade(tmp_path / "course", bench.ASSIGNMENT)
    summary(tmp_path / "course", bench.ASSIGNMENT)
    return tmp_path / "course"


def test_a_class_in_which_nothing_has_changed_is_told_without_what_grading_and_pages_need(graded):
    page = graded / ".grader" / bench.ASSIGNMENT / "summary.html"
    before = page.stat().st_mtime_ns
    printed, modules = run("grade", bench.ASSIGNMENT, "--course", graded)
    assert "3 unchanged and not run again" in printed
    assert "student001" in printed
    assert modules & HEAVY == set()
    assert page.stat().st_mtime_ns == before


@pytest.mark.parametrize("command", [["--help"], ["check", "--help"], ["grade", "--help"]])
def test_help_imports_no_gradebook_and_nothing_heavy(command, tmp_path):
    printed, modules = run(*command, cwd=tmp_path)
    assert "Usage" in printed
    assert modules & (HEAVY | GRADEBOOK) == set()


def test_where_nothing_has_changed_no_process_is_started(graded, monkeypatch):
    monkeypatch.setattr(zygote, "Zygote", lambda *_: pytest.fail("a zygote was started"))
    results = grade(graded, bench.ASSIGNMENT)
    assert [result.unchanged for result in results] == [True] * 3
    assert sum(result.score for result in results) == 10.5


def test_the_last_of_a_class_that_has_changed_is_graded_and_the_others_are_not(graded):
    path = graded / "submitted" / "student002" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    path.write_text(path.read_text().replace("no idea", "none at all"))
    told = []
    results = grade(graded, bench.ASSIGNMENT, progress=lambda graded, done, total: told.append((done, total)))
    assert [result.unchanged for result in results] == [True, True, False]
    assert sorted(told) == [(1, 3), (2, 3), (3, 3)]


def test_the_page_on_a_class_is_written_anew_when_a_person_has_given_points(graded):
    from grader.book.nbgrader_course import NbCourse
    from grader.pages.class_page import summary

    page = summary(graded, bench.ASSIGNMENT)
    before = page.read_text()
    gradebook = NbCourse.open(graded).gradebook()
    row = gradebook.find_grade("test_softmax_sums", bench.NOTEBOOK, bench.ASSIGNMENT, "student002")
    row.manual_score = 1.0
    gradebook.db.commit()
    gradebook.close()
    summary(graded, bench.ASSIGNMENT)
    assert page.read_text() != before


USES = {
    "a module of it": "from nbgrader import api; api.Gradebook",
    "its version": "import nbgrader; assert nbgrader.__version__[0].isdigit()",
    "a name of its own text": "import nbgrader; assert nbgrader._jupyter_server_extension_points()",
    "an extension, whose package asks for the version": "from nbgrader.server_extensions.formgrader import handlers",
    "a name that nobody has": "import nbgrader\nassert not hasattr(nbgrader, 'nothing_of_this_name')",
    "requests, by who does use it": "import requests; assert requests.Session().headers",
    "the errors of requests": "from requests.exceptions import ConnectionError\nimport requests\n"
    "assert issubclass(ConnectionError, requests.RequestException)",
}


@pytest.mark.parametrize("use", USES)
def test_nbgrader_that_was_imported_without_its_servers_has_all_that_it_had(use):
    program = f"from grader.lean import nbformat\n{USES[use]}"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nbgrader_unpacks_an_archive_though_what_does_is_imported_late(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "all of it")
    text = f"""
import grader.lean, sys
from nbgrader.utils import unpack_archive, unpack_zipfile
assert "setuptools" not in sys.modules
for number, unpack in enumerate((unpack_archive, unpack_zipfile)):
    unpack({str(tmp_path / "a.zip")!r}, {str(tmp_path)!r} + f"/{{number}}")
import setuptools.archive_util
assert setuptools.archive_util.unpack_archive.__module__ == "setuptools.archive_util"
"""
    subprocess.run([sys.executable, "-c", text], check=True)
    assert [(tmp_path / str(number) / "notes.txt").read_text() for number in (0, 1)] == ["all of it"] * 2


TAKEN = {
    "a class of it": """
from setuptools.archive_util import UnrecognizedFormat
assert issubclass(UnrecognizedFormat, Exception)
""",
    "all of it, once nbgrader has its own": """
import nbgrader.utils
assert "setuptools" not in sys.modules
import setuptools.archive_util
assert issubclass(setuptools.archive_util.UnrecognizedFormat, Exception)
""",
    "where it is": """
import nbgrader.utils, importlib.util
assert importlib.util.find_spec("setuptools.archive_util").origin
""",
}


@pytest.mark.parametrize("use", TAKEN)
def test_what_unpacks_archives_is_itself_for_all_others(use):
    subprocess.run([sys.executable, "-c", f"import grader.lean, sys\n{TAKEN[use]}"], check=True)
