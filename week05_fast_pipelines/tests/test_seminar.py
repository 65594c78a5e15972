"""The seminar's slow script, its cures, its exercises, and what the checks must not let pass."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from effdl.exercises import exercises
from week05_fast_pipelines import cures, hunt, slow_training
from week05_fast_pipelines import seminar_trials as trials
from week05_fast_pipelines.figures import seminar as figures
from week05_fast_pipelines.slow_training import BATCH, CHUNKS, LENGTH, handbook, train

WEEK = Path(__file__).resolve().parent.parent
SEMINAR = exercises(WEEK / "seminar.md")
WITH_CHECK = [pytest.param(exercise, id=exercise.title) for exercise in SEMINAR if exercise.cell]
NAMES = {
    "torch": torch,
    "json": json,
    "os": __import__("os"),
    "trials": trials,
    "slow_training": slow_training,
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("exercise", WITH_CHECK)
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    assert not exercise.verdict(NAMES, solved=False)
    assert exercise.verdict(NAMES, solved=True)


def test_no_exercise_of_the_seminar_was_overlooked():
    assert [exercise.title[0] for exercise in SEMINAR] == list("ABCDEFGHI")
    assert len(WITH_CHECK) == 8


def answers(trial, *questions):
    found = []
    for question in questions:
        try:
            found.append(trial(question))
        except Exception as error:
            found.append(type(error).__name__)
    return found


def test_the_checks_do_not_let_the_slow_parts_pass():
    assert trials.batches(slow_training.batches)(16, 8) != [1] * 16
    assert answers(trials.reader(slow_training.read), "operations") == [False]
    assert answers(trials.stepper(lambda *args: _loop(*args)), "operations", "losses") == [False, 0.0]
    assert answers(trials.checker(slow_training.norm), "items") == [False]
    assert answers(trials.placer(slow_training.positions), "type") == ["torch.float64"]
    assert answers(trials.attender(slow_training.attention), "copies", "losses") == [False, 0.0]
    assert answers(trials.keeper(_parts_of(slow_training.History)), "the same", "copied") == [True, False]
    assert answers(trials.logger(_log_of(slow_training.Log)), "lines", "waits") == [100, False]


def _loop(parameters, gradients, means, squares, steps, rate):
    for p, g, mean, square in zip(parameters, gradients, means, squares, strict=True):
        mean.copy_(0.9 * mean + 0.1 * g)
        square.copy_(0.999 * square + 0.001 * g**2)
        p.sub_(rate * mean / (1 - 0.9**steps) / (torch.sqrt(square / (1 - 0.999**steps)) + 1e-8))


def _parts_of(history):
    def function(batches):
        one = history(batches)
        return one.add, one.all

    return function


def _log_of(log):
    def function(path):
        one = log(path)
        return one.write, one.close

    return function


def test_the_checks_let_the_cures_pass():
    assert trials.batches(cures.batches)(19, 8) == [1] * 16 + [0] * 3
    assert answers(trials.reader(cures.read), "numbers", "operations", "losses") == [True, True, 0.0]
    found = answers(trials.checker(cures.norm), "norm", "inf", "nan", "items")
    assert found == [0.0, "FloatingPointError", "FloatingPointError", True]
    assert answers(trials.placer(cures.positions), "type", "values", "losses") == ["torch.float32", 0.0, 0.0]
    assert answers(trials.attender(cures.attention), "gradients", "copies", "losses") == [0.0, True, 0.0]
    assert answers(trials.keeper(_parts_of(cures.History)), "the same", "copied") == [True, True]
    assert answers(trials.logger(_log_of(cures.Log)), "lines", "waits", "losses") == [100, True, 0.0]


def test_the_checks_find_usual_mistakes():
    # Unknown characters as 0; a norm of one tensor only; no bias correction; attention that looks ahead; lines that
    # stay in the buffer; a history in another order.
    places = {character: place for place, character in enumerate(slow_training.VOCABULARY)}
    wrong = trials.reader(lambda texts: torch.tensor([[places.get(c, 0) for c in text] for text in texts]))
    assert wrong("numbers") is False
    assert trials.checker(lambda gradients: float(gradients[0].norm()))("norm") > 0

    def with_a_short_one(chunks, size):
        return (chunks[start : start + size] for start in range(0, len(chunks), size))

    assert trials.batches(with_a_short_one)(19, 8) != [1] * 16 + [0] * 3
    assert trials.batches(with_a_short_one)(5, 8) != [0] * 5

    def biased(parameters, gradients, means, squares, steps, rate):
        torch._foreach_lerp_(means, gradients, 0.1)
        torch._foreach_mul_(squares, 0.999)
        torch._foreach_addcmul_(squares, gradients, gradients, 0.001)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, 1e-8)
        torch._foreach_addcdiv_(parameters, means, roots, -rate)

    assert trials.stepper(biased)("losses") > 0

    def ahead(q, k, v, heads):
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    assert trials.attender(ahead)("losses") > 0

    def left_open(path):
        kept = []
        return kept.append, lambda: path.write_text(json.dumps(kept[0]))

    assert trials.logger(left_open)("lines") != 100

    def reversed_history(batches):
        kept = []
        return kept.append, lambda: torch.cat([x.detach().float().flatten() for x in reversed(kept)])

    assert trials.keeper(reversed_history)("the same") is False

    def with_graphs(batches):
        kept = []
        return kept.append, lambda: torch.cat([x.float().flatten() for x in kept])

    assert trials.keeper(with_graphs)("the same") is False


def test_all_cures_but_the_index_leave_losses_and_log_as_they_were():
    usual = train(cures.cured("wrong index"))
    cured = train(cures.cured(*hunt.FORWARD))
    assert len(cured.losses) == CHUNKS // BATCH
    assert cured.losses == pytest.approx(usual.losses, abs=1e-5)
    assert torch.allclose(cured.history, usual.history, atol=1e-4)
    for before, after in zip(usual.lines, cured.lines, strict=True):
        assert json.loads(before) == pytest.approx(json.loads(after), abs=2e-3)


def test_the_wrong_index_trains_on_shifted_batches_of_the_same_text():
    slow = train()
    assert len(slow.losses) == CHUNKS - BATCH + 1
    assert slow.characters == len(slow.losses) * BATCH * LENGTH
    assert next(slow.model.parameters()).dtype == torch.float64
    assert slow.losses[-1] < slow.losses[0]


def test_after_as_many_steps_both_indices_know_the_whole_text_equally_well():
    slow = train()
    chunks = (handbook() * 6)[: len(slow.losses) * BATCH]
    right = train(cures.cured("wrong index"), chunks)
    assert len(right.losses) == len(slow.losses)
    assert hunt.loss(right.model) == pytest.approx(hunt.loss(slow.model), abs=0.15)
    assert hunt.loss(train(cures.cured("wrong index")).model) > hunt.loss(slow.model) + 0.5


def test_a_log_is_closed_with_its_file(tmp_path):
    log = cures.Log(tmp_path / "log")
    log.write({"step": 0})
    log.close()
    assert log.target.stream is None
    assert (tmp_path / "log").read_text() == '{"step": 0}\n'


def test_the_text_has_pieces_of_one_length():
    assert {len(chunk) for chunk in handbook(CHUNKS)} == {LENGTH + 1}
    assert len(handbook(7)) == 7


def test_the_script_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "week05_fast_pipelines.slow_training"],
        capture_output=True, text=True, check=True, cwd=WEEK.parent,
    )  # fmt: skip
    assert done.stdout.startswith("loss ")


def test_a_killed_log_keeps_what_was_flushed():
    assert trials.lines_after_a_kill("flush") == trials.lines_after_a_kill("fsync") == 50
    assert trials.lines_after_a_kill("buffer") == 0


def test_a_reason_that_there_is_not_is_refused():
    with pytest.raises(KeyError):
        cures.cured("moon")


def test_a_waterfall_adds_up_and_shares_are_of_the_whole():
    class Times:
        def __init__(self, samples):
            self.timings = {name: type("T", (), {"samples": values})() for name, values in samples.items()}

    orders = [hunt.FORWARD[:n] for n in range(9)] + [hunt.BACKWARD[:n] for n in range(9)]
    times = Times({hunt.name(done): (10.0 - len(done), 11.0) for done in orders})
    for order in (hunt.FORWARD, hunt.BACKWARD):
        steps = hunt.waterfall(times, order)
        assert sum(step.saved for step in steps) == pytest.approx(8.0)
        assert sum(hunt.shares(steps).values()) == pytest.approx(1.0)
    figure = figures.waterfalls({"one": steps, "other": steps})
    assert len(figure.axes) == 2


def test_foreach_needs_room_for_all_tensors_and_fused_for_none():
    widths = (32,) * 20
    loop, foreach, fused = (hunt.temporaries(widths, way) for way in ("loop", "foreach", "fused"))
    assert fused < loop < foreach
    assert foreach >= 20 * 32 * 32 * 4


def test_parts_of_mine_replace_those_of_the_script():
    assert trials.parts_of_mine(read=cures.read) == replace(slow_training.SLOW, read=cures.read)
