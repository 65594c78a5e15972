"""Each profiler finds what was planted for it."""

import re

import numpy as np
import pytest
import torch

from effdl.device import device
from week05_fast_pipelines import profilers


def test_cprofile_counts_calls_exactly():
    rows = profilers.calls(lambda: profilers.by_calls(1234), by="ncalls")
    assert rows[0][:2] == ["profilers.add", "1,234"]


def test_line_profiler_names_the_line_with_the_work():
    (line, hits, share), *_ = profilers.lines(lambda: profilers.inline(1000), profilers.inline, most=1)
    assert "number" in line
    assert hits in ("1,000", "1,001")
    assert share.endswith("%")


def test_the_sum_is_the_same_with_and_without_calls_and_under_every_tool():
    assert profilers.by_calls(100) == profilers.inline(100) == sum(range(100))
    for under in (profilers.under_cprofile, profilers.under_line_profiler, profilers.under_samples):
        under(profilers.inline)()


@pytest.mark.alone
def test_stack_samples_rank_the_two_parts_and_know_who_called():
    with profilers.Stacks() as stacks:
        profilers.three_to_one(1.0)
    assert stacks.share("three_to_one") > 0.9
    assert stacks.share("most_of_it") > stacks.share("rest_of_it")
    assert stacks.share("nobody") == 0


def test_no_samples_are_no_shares():
    with profilers.Stacks(every=10) as stacks:
        pass
    assert stacks.share("anything") == 0


def test_py_spy_names_the_line_or_says_why_not():
    stack, problem = profilers.where_it_hangs()
    assert problem or re.fullmatch(
        r"Thread .+\nwaits_for_a_message \(hangs\.py:\d+\)\n<module> \(hangs\.py:\d+\)", stack
    )


@pytest.mark.alone
def test_py_spy_finds_the_planted_shares_from_outside_or_says_why_not():
    shares, problem = profilers.from_outside()
    assert problem or shares["most_of_it"] > shares["rest_of_it"] > 0


def test_py_spy_of_a_process_that_is_not_there_gives_a_reason():
    _, problem = profilers.py_spy("dump", "--pid", "999999999")
    assert problem


def test_py_spy_that_does_not_end_is_stopped(monkeypatch, tmp_path):
    program = tmp_path / "py-spy"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(profilers.shutil, "which", lambda *_, **__: str(program))
    assert profilers.py_spy("dump", seconds=0.2) == ("", "py-spy did not end within 0.2 s")


def step():
    x = torch.randn(16, 8, requires_grad=True)
    (torch.nn.functional.gelu(x.double()) @ torch.randn(8, 4, dtype=torch.float64)).sum().backward()


def test_a_trace_loads_is_nested_and_knows_types():
    profile = profilers.traced(step, shapes=True)
    trace = profilers.events(profile)
    names = {event["name"] for event in trace}
    assert {"aten::mm", "aten::gelu"} <= names
    assert profilers.overlapping(trace) == 0
    kinds = profilers.types(trace)
    assert kinds["double"] > kinds["float"] > 0
    averages = profile.key_averages()
    assert profilers.count(averages, "aten::gelu") == 1
    assert profilers.rows(averages, most=3)[0][1] != "0"


def test_a_trace_that_is_not_nested_is_found():
    def event(start, length, tid=1):
        return {"cat": "cpu_op", "pid": 1, "tid": tid, "ts": start, "dur": length}

    assert profilers.overlapping([event(0, 10), event(2, 3), event(5, 5), event(10, 4)]) == 0
    assert profilers.overlapping([event(0, 10), event(5, 10)]) == 1
    assert profilers.overlapping([event(0, 10), event(5, 10, tid=2)]) == 0


def test_each_memory_tool_is_blind_to_the_others_bytes():
    by_python, by_torch = profilers.allocated(lambda: torch.ones(100_000, device=device()))
    assert 400_000 <= by_torch <= 401_000  # a GPU rounds up
    assert by_python < 40_000
    by_python, by_torch = profilers.allocated(lambda: np.ones(100_000, np.float32))
    assert by_torch == 0
    assert by_python >= 400_000
