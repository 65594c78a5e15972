"""The lectures' texts: their printed solutions must pass the very checks that the exercises show."""

import math
import re
from pathlib import Path

import pytest

from effdl import notebook

LECTURES = sorted(Path(__file__).resolve().parent.parent.glob("lecture*.md"))


def parts(path):
    """The checks and the printed solutions of a lecture, as code."""
    text = path.read_text(encoding="utf-8")
    checks = [code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "check_exercise(" in code]
    return text, checks, re.findall(r"<summary>Solution</summary>\n\n~~~python\n(.*?)~~~", text, re.S)


CHECKED = [
    pytest.param(check, solution, id=f"{path.stem}-{number}")
    for path in LECTURES
    for number, (check, solution) in enumerate(zip(*parts(path)[1:], strict=False))
]


def run(code, **given):
    """Execute code in a fresh namespace and return it."""
    exec(code, namespace := dict(given))
    return namespace


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_every_exercise_has_a_hint_and_a_solution(path):
    text, _, solutions = parts(path)
    exercises = re.findall(r"^### [A-Z]\. .*\((?:easy|medium|open), \d+ minutes\)$", text, re.M)
    assert len(exercises) == text.count("<summary>Hint</summary>") == len(solutions)


def test_all_but_the_open_exercise_have_a_check():
    assert len(CHECKED) == 3


@pytest.mark.parametrize(("check", "solution"), CHECKED)
def test_printed_solution_passes_the_check_and_the_stub_does_not(check, solution):
    captured = []
    run(check, math=math, check_exercise=lambda *arguments: captured.append(arguments))
    [(name, stub, cases)] = captured
    written = run(solution, math=math, MIB=2**20)[stub.__name__]
    assert not notebook.check_exercise(name, stub, cases)
    assert notebook.check_exercise(name, written, cases)
