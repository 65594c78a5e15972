"""The lecture's text: its printed solutions must pass the very checks that the exercises show."""

import math
import re
from pathlib import Path

import pytest

from effdl import notebook

LECTURE = (Path(__file__).resolve().parent.parent / "lecture.md").read_text(encoding="utf-8")
CHECKS = [code for code in re.findall(r"```python\n(.*?)```", LECTURE, re.S) if "check_exercise(" in code]
SOLUTIONS = re.findall(r"<summary>Solution</summary>\n\n~~~python\n(.*?)~~~", LECTURE, re.S)


def run(code, **given):
    """Execute code in a fresh namespace and return it."""
    exec(code, namespace := dict(given))
    return namespace


def test_every_exercise_has_a_hint_and_a_solution():
    exercises = re.findall(r"^### [A-Z]\. .*\((?:easy|medium|open), \d+ minutes\)$", LECTURE, re.M)
    assert len(exercises) == LECTURE.count("<summary>Hint</summary>") == len(SOLUTIONS)
    assert len(CHECKS) == 3


@pytest.mark.parametrize("number", range(3))
def test_printed_solution_passes_the_check_and_the_stub_does_not(number):
    captured = []
    run(CHECKS[number], check_exercise=lambda *arguments: captured.append(arguments))
    [(name, stub, cases)] = captured
    solution = run(SOLUTIONS[number], math=math, MIB=2**20)[stub.__name__]
    assert not notebook.check_exercise(name, stub, cases)
    assert notebook.check_exercise(name, solution, cases)
