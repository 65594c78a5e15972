"""The printed solutions pass the checks that a reader runs, and the starts that the seminar gives do not."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effdl.notebook import check_exercise
from week01_intro import benchmark, dot_products, float_order, ranking, streams

SOURCE = (Path(__file__).parent.parent / "seminar.md").read_text(encoding="utf-8")
SOLUTIONS = re.findall(r"<summary>Solution</summary>.*?```py\n(.*?)```", SOURCE, re.DOTALL)
NAMES = {"np": np, "benchmark": benchmark, "float_order": float_order}


def defined(code, name):
    scope = dict(NAMES)
    exec(code, scope)
    return scope[name]


def start(name):
    cells = re.findall(r"```python\n(.*?)```", SOURCE, re.DOTALL)
    code = next(cell for cell in cells if re.search(rf"^(def )?{name}\b", cell, re.MULTILINE))
    return defined(code.split("\n\n\n")[0].split("check_exercise")[0], name)


def check_benchmark(candidate):
    return check_exercise("", partial(benchmark.on_fake_machine, candidate), benchmark.SPECIFICATION)


def check_order(order):
    return check_exercise("", partial(ranking.drift_bias, order), ranking.DRIFT_SPECIFICATION)


def check_sum(candidate):
    def sum_of(name):
        return float(candidate(float_order.SUMMANDS[name]))

    return check_exercise("", sum_of, float_order.SUM_SPECIFICATION, rel=2**-23)


def check_pipeline(candidate):
    return check_exercise("", partial(streams.run_pipeline, candidate), streams.PIPELINE_SPECIFICATION)


EXERCISES = [
    ("my_benchmark", check_benchmark),
    ("my_order", check_order),
    ("compensated_sum", check_sum),
    ("my_pipeline", check_pipeline),
]


def test_every_exercise_has_a_solution():
    assert len(SOLUTIONS) == len(EXERCISES) == len(re.findall(r"^### Exercise ", SOURCE, re.MULTILINE))


@pytest.mark.parametrize(("exercise", "number"), [(e, i) for i, e in enumerate(EXERCISES)])
def test_printed_solution_passes_its_check(exercise, number):
    name, check = exercise
    assert check(defined(SOLUTIONS[number], name))


# The start of the pipeline is a race: it fails nearly always, which is no basis for a test.
@pytest.mark.parametrize(("name", "check"), EXERCISES[:3])
def test_start_of_an_exercise_does_not_pass(name, check):
    assert not check(start(name))


def test_an_order_with_more_of_one_letter_is_refused():
    with pytest.raises(ValueError, match="as many A as B"):
        ranking.drift_bias("ABA", 1)


def in_held_memory(x, y):
    return dot_products.held_mul_sum(x)(x, y)


@pytest.mark.parametrize("dots", [dot_products.mul_sum, in_held_memory, dot_products.bmm])
@given(rows=st.integers(1, 20), length=st.integers(1, 300), seed=st.integers(0, 1000))
def test_dot_products_are_right_within_the_bound(dots, rows, length, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(rows, length, generator=generator) for _ in range(2))
    assert dots(x, y).shape == (rows,)
    assert dot_products.share_of_bound(dots, x, y) <= 1


def test_bound_rejects_a_wrong_dot_product():
    x, y = torch.ones(3, 8), torch.ones(3, 8)
    assert dot_products.share_of_bound(lambda x, y: dot_products.mul_sum(x, y) * 1.001, x, y) > 1


def test_a_read_that_waits_finds_the_whole_tensor(monkeypatch):
    monkeypatch.setattr(streams, "BUSY", 16)
    device = streams.AsyncDevice()
    assert streams.share_read(device, delay=0.0, wait=True) == 1.0
    device.close()
