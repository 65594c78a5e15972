"""Trace is wrong in silence, script and export are not."""

import pytest
import torch

from week07_inference_software import capture
from week07_inference_software.capture import REFUSED, RIGHT, WRONG

FUNCTIONS = (capture.absolute, capture.mean, capture.decayed)
INPUTS = capture.calls()[::4]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_call_is_counted_once(function):
    for take in capture.CAPTURES.values():
        assert sum(capture.outcomes(take, function, INPUTS).values()) == len(INPUTS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_trace_answers_wrongly_and_export_never_does(function):
    assert capture.outcomes(capture.traced, function, INPUTS)[WRONG] > 0
    exported = capture.outcomes(capture.exported, function, INPUTS)
    assert exported[WRONG] == 0
    assert exported[REFUSED] > 0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_script_is_right(function):
    assert capture.outcomes(capture.scripted, function, INPUTS)[RIGHT] == len(INPUTS)


@pytest.mark.parametrize("function", [capture.absolute_by_cond, capture.mean_by_shape])
def test_cured_functions_are_exported_and_right(function):
    assert capture.outcomes(capture.exported, function, INPUTS)[RIGHT] == len(INPUTS)


def test_cured_functions_compute_what_the_others_do():
    for x in INPUTS:
        assert torch.equal(capture.absolute(x), capture.absolute_by_cond(x))
        assert torch.equal(capture.mean(x), capture.mean_by_shape(x))


def test_the_loop_is_traced_without_a_warning_and_the_others_with_one():
    example = torch.ones(4, 3)
    assert [len(capture.warnings_of(f, example)) for f in FUNCTIONS] == [1, 1, 0]


def test_quiet_code_still_raises_and_logging_is_as_before(capfd):
    import logging

    def speak():
        with capture.quietly():
            print("nobody reads this")
            raise ValueError("told")

    before = logging.root.manager.disable
    with pytest.raises(ValueError, match="told"):
        speak()
    assert logging.root.manager.disable == before
    assert capfd.readouterr().out == ""
