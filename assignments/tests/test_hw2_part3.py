"""hw2's own, part 3: the slow file has all of its faults, and the profiler's trace of real layers can be drawn."""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from grader.course import Course
from grader.edits import apply_edits

HOMEWORK = Course.load(Path(__file__).parents[1]).assignment("hw2_pipelines")
PART = HOMEWORK.part(3)
SLOW = (HOMEWORK.source / "checks" / "part3_slow.py").read_text(encoding="utf-8")
MEASURES = {"samples_are_read_once", "validation_keeps_no_graphs", "epochs_leave_no_threads"}
TIMES = {"long_sequences_are_fast", "many_heads_are_fast", "one_long_sequence_costs_one_batch"}
TIMES |= {"many_words_are_fast", "whole_training_is_fast"}
RESULTS = {"results_are_unchanged", "awkward_data_trains_alike"}


def failed(examiner, submission, text, names):
    """Return the names of those checks that `text` as `fast_training.py` does not pass."""
    report = examiner.examine(PART, submission(PART, [("fast_training.py", text)]), names=sorted(names))
    return {check.name for check in report.checks if check.verdict != "pass"}


@pytest.mark.drawn(4)
def test_the_slow_file_is_right_and_fails_every_measure_of_bytes_threads_and_memory(examiner, submission):
    assert failed(examiner, submission, SLOW, MEASURES | RESULTS) == MEASURES


@pytest.mark.drawn(4)
@pytest.mark.alone
def test_the_slow_file_fails_every_measure_of_time(examiner, submission):
    assert failed(examiner, submission, SLOW, TIMES) == TIMES


ONE_MENDED = {
    "validation_keeps_no_graphs": [
        ["def validate(model, store, batch):", "@torch.no_grad()\ndef validate(model, store, batch):"]
    ],
    "epochs_leave_no_threads": [
        [
            "validated.append(validate(model, validation, batch))",
            "readers.pop().close()\nvalidated.append(validate(model, validation, batch))",
        ]
    ],
}


@pytest.mark.drawn(4)
@pytest.mark.parametrize("name", ONE_MENDED)
def test_who_mends_one_fault_passes_its_measure_whatever_else_is_left(examiner, submission, name):
    text = apply_edits(SLOW, ONE_MENDED[name])
    assert failed(examiner, submission, text, MEASURES) == MEASURES - {name}


class InPlace(nn.Module):
    """A convolution whose output is changed in place, by modules and without one, and a residual connection."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)), nn.ReLU(inplace=True)
        )
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Identity())
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(8, 2)

    def forward(self, value):
        value = self.stem(value)
        inner = self.body(value)
        inner += value
        return self.head(self.act(inner).mean((2, 3)))


MODELS = {
    "in_place": (InPlace, (4, 3, 8, 8)),
    "transformer": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
        (2, 5, 16),
    ),
    "lstm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LSTM(8, 8)), (3, 4, 6)),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_trace_of_real_layers_nests_and_has_a_backward_pass_for_each_call(tmp_path, name):
    profiler = runpy.run_path(str(HOMEWORK.source / "profiler.py"))
    checks = runpy.run_path(str(PART.checks_public))
    make, shape = MODELS[name]
    model = make()
    with profiler["Profile"](model) as profile:
        for _ in range(3):
            output = model(torch.randn(shape))
            (output[0] if isinstance(output, tuple) else output).square().sum().backward()
            profile.step()
    profile.to_perfetto(tmp_path / "trace.json")
    events = checks["events_of"]((tmp_path / "trace.json").read_text(encoding="utf-8"))
    checks["expect_nested"](events)
    called = [sorted(one["name"] for one in events if one["cat"] == kind) for kind in ("forward", "backward")]
    assert called[0] == called[1]
