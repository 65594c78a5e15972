"""The command line as its three kinds of users type it."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from grader.cli import app, console
from grader.course import Course
from grader.examine.examiner import checks_of
from grader.examine.report import CheckResult, Report
from grader.steps import terminal

HOMEWORK = Course.load(Path(__file__).parents[3] / "assignments").assignment("hw1_distributed")
RIGHT = "def total(x):\n    return sum(x)\n\n\ndef spread(x):\n    return max(x) - min(x)\n"


@pytest.fixture
def grader(monkeypatch):
    """Return a function that runs one command in a folder and gives (exit code, what it printed)."""
    monkeypatch.setattr(console, "width", 200)
    runner = CliRunner()

    def run(*arguments: object, here: Path) -> tuple[int, str]:
        monkeypatch.chdir(here)
        result = runner.invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            return 2, str(result.exception)
        return result.exit_code, result.output

    return run


def test_a_student_starts_checks_fails_solves_and_looks_at_the_reference(sample_course, grader, one_examiner):
    repository = sample_course.parent
    code, said = grader("start", "hw1", "mine", here=repository)
    assert code == 0, said
    mine = repository / "mine"
    assert {"sums.py", "part1_sums.ipynb", "course.toml", "checks"} <= set(os.listdir(mine))
    assert not (mine / "checks" / "part1_hidden.py").exists()
    assert not (mine / "wrong").exists()
    assert not (mine / "right").exists()

    code, said = grader("check", "--in", mine, here=repository)
    assert code == 1
    assert "not implemented yet: total" in said
    assert "0 of 1.5 points" in said

    code, said = grader("solution", "total", "--in", mine, here=repository)
    assert code == 2
    assert "try first" in said

    (mine / "sums.py").write_text(
        "def total(numbers):\n    return sum(numbers) + 1\n\n\n"
        "def spread(numbers):\n    print('of', numbers)\n    return numbers[-1]\n"
    )
    code, said = grader("check", 1, here=mine)
    assert "Start at 0." not in said
    assert "A hint (1 left): grader check 1 --in . --hint" in said
    assert "printed: of [4, 1, 9]" in said
    said = grader("check", "--item", "total", "--hint", here=mine)[1]
    assert "hint, total_adds: Start at 0." in said
    said = grader("check", "--hint", here=mine)[1]
    assert "opened before, total_adds: Start at 0." in said
    assert "There is no other hint." in said
    said = grader("check", here=mine)[1]
    assert "Start at 0." not in said
    assert "Hints that you have opened (1): grader check 1 --in . --hint" in said
    said = grader("check", "--all-hints", here=mine)[1]
    assert "hint: Start at 0." in said
    (mine / "sums.py").write_text(
        "def total(numbers):\n    print('to add')\n    return sum(numbers)\n\n\n"
        "def spread(numbers):\n    return numbers[-1]\n"
    )
    code, said = grader("check", 1, here=mine)
    assert code == 1
    assert "total   1/1" in said
    assert "spread_is_a_difference, fail: the spread differs from the specification" in said
    assert "yours: 9" not in said
    code, said = grader("check", 1, "-v", here=mine)
    assert code == 1
    assert "total_adds  pass  1/1" in said
    assert "yours: 9" in said
    assert "specification: 8" in said
    code, said = grader("check", "--item", "total", "--output", here=mine)
    assert code == 0
    assert "printed: to add" in said

    code, said = grader("solution", "spread", "--in", mine, here=repository)
    assert code == 0
    assert "max(numbers) - min(numbers)" in said
    assert "numbers[-1]" in said

    code, said = grader("start", "hw1", "mine", here=repository)
    assert code == 2
    assert "not empty" in said


def test_an_instructor_examines_one_folder_and_gets_every_verdict_as_json(sample_course, grader, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "sums.py").write_text("def total(numbers):\n    return sum(numbers)\n")
    code, said = grader(
        "examine", "hw1", work, "--part", 1, "--json", tmp_path / "out.json", here=sample_course
    )
    assert code == 0, said
    checks = json.loads((tmp_path / "out.json").read_text())["checks"]
    assert {"name", "points", "max_points", "verdict", "why", "measured"} <= set(checks[0])
    verdicts = {check["name"]: (check["verdict"], check["points"]) for check in checks}
    assert verdicts == {
        "total_adds": ("pass", 1),
        "spread_is_a_difference": ("fail", 0),
        "total_of_the_empty_list_secretly": ("pass", 2),
        "spread_of_equal_numbers_secretly": ("fail", 0),
    }


def test_a_missing_file_fails_its_own_checks_with_a_sentence(sample_course, grader, tmp_path, one_examiner):
    (tmp_path / "empty").mkdir()
    code, said = grader("examine", "hw1", tmp_path / "empty", "--part", 1, here=sample_course)
    assert code == 0
    assert said.count("sums.py is missing; put it beside the notebook") == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("start", "hw9"), "hw9 is not an assignment of Sums; course.toml has: hw1"),
        (("examine", "hw1", ".", "--part", "3"), "hw1 has no part 3; parts in course.toml: 1"),
        (("examine", "hw1", "nowhere", "--part", "1"), "nowhere: not a folder"),
        (("check",), "not a copy of an assignment; make one with"),
        (("release",), "nothing to release"),
        (("check", "--isolation", "some"), "'some' is none of auto, namespaces, plain"),
        (("export", "--to", "no/where.csv"), "no/where.csv: its folder does not exist"),
        (("grade", "hw1"), "release"),
    ],
)
def test_bad_input_gets_one_sentence_with_the_remedy(sample_course, grader, arguments, says):
    code, said = grader(*arguments, here=sample_course)
    assert code == 2
    assert says in said


def test_the_installed_command_turns_an_error_into_a_sentence_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "grader", "start", "hw1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no course.toml here or above" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_check_without_isolation_works_where_there_are_no_namespaces(sample_course, grader):
    source = sample_course / "source" / "hw1"
    code, said = grader("examine", "hw1", source, "--part", 1, "--isolation", "plain", here=sample_course)
    assert code == 0, said
    assert "4 of 4 points" in said


def test_hidden_checks_run_where_the_repository_has_them_and_a_released_one_says_that_it_has_none(
    sample_course, grader, tmp_path, one_examiner
):
    repository = sample_course.parent
    grader("start", "hw1", "mine", here=repository)
    mine = repository / "mine"
    (mine / "sums.py").write_text(RIGHT)
    code, said = grader("check", "--hidden", "--in", mine, here=repository)
    assert code == 0, said
    assert "4 of 4 points" in said
    shutil.move(sample_course / "source", tmp_path / "elsewhere")
    code, said = grader("check", "--hidden", "--in", mine, here=repository)
    assert code == 2
    assert "no hidden checks here, because this repository was released to a class" in said


def test_an_item_finds_its_part_and_no_table_of_another_part_is_shown(sample_course, grader, one_examiner):
    course = sample_course / "course.toml"
    text = course.read_text()
    second = text[text.index("[assignments.hw1.parts.1]") :].replace("parts.1", "parts.2")
    for old, new in (
        ("total", "sum"),
        ("spread", "width"),
        ("essay", "text"),
        ("plot", "picture"),
        ("part1", "part2"),
    ):
        second = second.replace(old, new)
    course.write_text(text + second)
    source = sample_course / "source" / "hw1"
    shutil.copy(source / "checks" / "part1_public.py", source / "checks" / "part2_public.py")
    renamed = (source / "checks" / "part2_public.py").read_text().replace('"total"', '"sum"')
    (source / "checks" / "part2_public.py").write_text(renamed.replace('"spread"', '"width"'))
    mine = sample_course.parent / "mine"
    shutil.copytree(source, mine)
    shutil.copy(course, mine / "course.toml")
    code, said = grader("check", "--item", "width", "--in", mine, here=sample_course)
    assert code == 0, said
    assert "part 2: Sums" in said
    assert "part 1" not in said


@pytest.mark.parametrize("render", [terminal.items, terminal.details])
def test_no_name_is_broken_at_80_columns(render):
    for part in HOMEWORK.parts.values():
        results = [
            CheckResult(
                *(check.name, check.item, 0.0, check.points, "fail", "some words on what is wrong " * 9),
                spec=check.spec,
            )
            for check in checks_of(part)
        ]
        for result in results:  # each is once the first, which is shown in full
            screen = Console(width=80, file=io.StringIO())
            screen.print(render(Report([result]), "hw1"))
            lines = screen.file.getvalue().splitlines()
            assert max(map(len, lines)) <= 80
            assert any(re.search(rf"\b{result.name}\b", line) for line in lines)
            assert any(re.search(rf"\b{result.item}\b", line) for line in lines)


@pytest.mark.parametrize("render", [terminal.items, terminal.details])
def test_the_title_stays_whole_where_everything_passes(render):
    screen = Console(width=80, file=io.StringIO())
    title = "hw1_distributed, part 2: Data-parallel training"
    screen.print(render(Report([CheckResult("ring_adds", "ring", 1.0, 1.0, "pass", "")]), title))
    assert title in [line.rstrip() for line in screen.file.getvalue().splitlines()]


def test_printed_commands_name_the_program_as_it_is_called_from_here(monkeypatch, tmp_path):
    folder = tmp_path / "course" / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "grader").write_text("#!/bin/sh\n")
    (folder / "grader").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.chdir(tmp_path / "course")
    monkeypatch.setenv("PATH", "/usr/bin")
    assert terminal.program() == ".venv/bin/grader"
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin")
    assert terminal.program() == "grader"
    (folder / "grader").unlink()
    assert terminal.program() == f"{folder}/python -m grader"
