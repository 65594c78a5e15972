"""What a student does in the first hour: copy, import, hand in; and the Jupyter in which they do it."""

import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
from jupyterlab_server.config import get_page_config

from grader.course import Course, CourseError
from grader.steps import jupyter, pack, workspace
from grader.steps.collect import collect

REPOSITORY = Path(__file__).parents[3]
RIGHT = "import math\nimport numpy\nimport own\n\n\ndef total(x):\n    return sum(x)\n"


@pytest.fixture
def mine(released_course):
    """A student's copy of the released assignment, with a module of their own."""
    folder = released_course.parent / "mine"
    workspace.start(Course.load(released_course), "hw1", folder)
    (folder / "own.py").write_text("x = 1\n")
    return folder


def test_commands_in_what_students_read_work_as_printed():
    read = [
        *REPOSITORY.glob("assignments/source/*/*.md"),
        *REPOSITORY.glob("week*/*.md"),
        *REPOSITORY.glob("website/pages/*.md"),
        REPOSITORY / "README.md",
    ]
    bare = re.compile(
        r"(?:^|`)grader (?:start|check|progress|pack|solution)\b[^`\n]* (?:hw1|--)", re.MULTILINE
    )
    assert len(read) > 10
    assert {
        path.name: found for path in read if (found := bare.findall(path.read_text(encoding="utf-8")))
    } == {}
    assert bare.search("```\ngrader check --in hw1\n```")  # it would be found


def look(folder):
    return pack.look(workspace.find(folder), folder)


def test_an_untouched_copy_is_told_what_is_not_done_and_is_packed_all_the_same(mine):
    found = look(mine)
    assert found.missing == []
    assert found.notes == [
        "part 1, functions not implemented yet: sums.py (2)",
        "part1_sums.ipynb, answers still empty: essay, plot (3 points)",
    ]
    (mine / "sums.py").write_text("def total(:\n")
    assert "sums.py, line 1: not valid Python: " in look(mine).notes[0]
    for deep in ("-" * 300_000 + "1", "1" + "+1" * 300_000):  # a file of whoever made the copy
        (mine / "sums.py").write_text(deep)
        assert "sums.py: not valid Python: " in look(mine).notes[0]
    (mine / "part1_sums.ipynb").write_text("no json")
    assert (
        look(mine).notes[-1] == "part1_sums.ipynb: not a notebook that can be read; save it again in Jupyter"
    )


def test_what_is_packed_is_what_collecting_takes_and_holds_nothing_of_the_courses(
    mine, released_course, tmp_path
):
    (mine / "sums.py").write_text(RIGHT)
    for name in (
        "__pycache__/a.pyc",
        ".ipynb_checkpoints/b.ipynb",
        "checks/mine.py",
        "old.zip",
        "data/t.csv",
    ):
        (mine / name).parent.mkdir(exist_ok=True)
        (mine / name).write_text("x\n")
    (mine / "link.py").symlink_to(mine / "sums.py")
    (mine / "conftest.py").write_text("x = 1\n")
    found = look(mine)
    names = found.names
    # What collecting would leave out in silence, or with a note to the instructor, the student hears of here.
    assert "link.py: a link or a special file, not taken" in found.notes
    assert "conftest.py: not taken, a program would run it or take settings from it" in found.notes
    assert not any("course.toml" in note for note in found.notes)
    assert sorted(names) == ["data/t.csv", "own.py", "part1_sums.ipynb", "sums.py"]
    (tmp_path / "in").mkdir()
    pack.write(mine, names, tmp_path / "in" / "ann.zip")
    with zipfile.ZipFile(tmp_path / "in" / "ann.zip") as archive:
        assert archive.namelist() == sorted(names)
    (result,) = collect(released_course, "hw1", tmp_path / "in")
    assert (result.student, result.refused, result.notes) == ("ann", "", [])
    taken = released_course / "submitted" / "ann" / "hw1"
    assert {str(p.relative_to(taken)) for p in taken.rglob("*") if p.is_file()} == {*names, "timestamp.txt"}


def test_a_folder_that_is_not_there_is_said_to_be_none(mine):
    with pytest.raises(CourseError, match=r"nowhere: no such folder; make a copy with `.*start HW`"):
        look(mine.parent / "nowhere")


def test_a_missing_file_is_named_with_its_part_and_too_much_data_is_refused(mine, monkeypatch):
    (mine / "sums.py").unlink()
    assert look(mine).missing == ["sums.py of part 1"]
    (mine / "data.bin").write_bytes(bytes(5000))
    monkeypatch.setattr(pack, "MAX_BYTES", 4000)
    with pytest.raises(CourseError, match="take data and results out"):
        look(mine)


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("import week03_data_parallel.ring\n", "week03_data_parallel"),
        ("def total(x):\n    from effdl.bench import best\n", "effdl"),
        ("try:\n    import grader\nexcept ImportError:\n    pass\n", "grader"),
        ("import own\n", "week02_distributed"),
    ],
)
def test_an_import_that_is_not_there_when_it_is_graded_is_refused_before_anything_runs(mine, text, module):
    (mine / "sums.py").write_text(text)
    (mine / "own.py").write_text("from week02_distributed import glove\n")
    part = workspace.find(mine).part(1)
    with pytest.raises(
        CourseError, match=rf"line \d: imports {module}, which is not there where your work is"
    ):
        pack.refuse_foreign_imports(mine, part)


def test_other_imports_are_the_students_own_affair(mine):
    (mine / "sums.py").write_text(RIGHT + "from nothing_like_it import x\nfrom . import y\n")
    (mine / "effdl.py").write_text("z = 1\n")
    (mine / "own.py").write_text("import effdl, sums, own\n")  # a module of their own of that name
    pack.refuse_foreign_imports(mine, workspace.find(mine).part(1))


def test_such_an_import_fails_in_the_sandbox_too(mine, examiner):
    (mine / "sums.py").write_text("import effdl\n\n\ndef total(x):\n    return sum(x)\n")
    (check,) = examiner.examine(workspace.find(mine).part(1), mine, hidden=False, items=["total"]).checks
    assert (check.verdict, "No module named 'effdl'" in check.why) == ("fail", True), check


@pytest.mark.parametrize("released", [True, False])
def test_authors_buttons_are_off_in_a_students_jupyter_and_text_opens_as_a_notebook(tmp_path, released):
    prefix, repository = tmp_path / "env", tmp_path / "repository"
    (repository / "assignments" / ("release" if released else "source") / "hw1").mkdir(parents=True)
    settings = prefix / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"@jupyterlab/docmanager-extension:plugin": {"autosave": true}}')
    jupyter.configure(prefix, repository)
    jupyter.configure(prefix, repository)
    there = json.loads(settings.read_text())["@jupyterlab/docmanager-extension:plugin"]
    assert there == {"autosave": True, "defaultViewers": {"markdown": "Jupytext Notebook"}}
    page = json.loads((prefix / "etc" / "jupyter" / "labconfig" / "page_config.json").read_text())
    assert page == {"disabledExtensions": {"@jupyter/nbgrader": released}}


def test_jupyterlab_reads_the_page_from_where_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "repository" / "assignments" / "release").mkdir(parents=True)
    jupyter.configure(tmp_path / "env", tmp_path / "repository")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    monkeypatch.setattr("jupyter_core.paths.ENV_CONFIG_PATH", [str(tmp_path / "env" / "etc" / "jupyter")])
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    assert "@jupyter/nbgrader" in get_page_config([])["disabledExtensions"]
