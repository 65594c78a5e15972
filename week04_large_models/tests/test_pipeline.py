"""Schedules executed by ranks: one process's gradients to the bit, no deadlock, memory and idle time as promised."""

import pytest
import torch

from effdl import launch
from effdl.transformer import Config, Transformer
from week04_large_models import pipeline, schedules
from week04_large_models.schedules import Action

CONFIG = Config(length=16, width=32, heads=2, blocks=4)
SCHEDULES = {
    "gpipe": schedules.gpipe(2, 4),
    "1f1b": schedules.one_f_one_b(2, 4),
    "1f1b, four stages": schedules.one_f_one_b(4, 4),
    "interleaved": schedules.interleaved(2, 2, 4),
    "one rank": schedules.one_f_one_b(1, 4),
    "two stages on one rank": [
        [Action(kind, stage, k) for k in range(4) for kind, stage in (("F", 0), ("F", 1), ("B", 1), ("B", 0))]
    ],
}


def run(schedule, size):
    """What each rank found."""
    return [
        rank["it"]
        for rank in launch.run(pipeline.run_on_rank, len(schedule), args=({"it": schedule}, CONFIG, size))
    ]


@pytest.fixture
def one_thread():
    """Compute as a rank does: two threads add the terms of a product in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", SCHEDULES)
def test_gradients_are_those_of_one_process_to_the_bit(name):
    loss, expected = pipeline.one_process(CONFIG, 4, 2)
    found = run(SCHEDULES[name], 2)
    assert sum(rank["loss"] for rank in found) == pytest.approx(loss, abs=1e-12)  # a sum of float64 numbers
    gradients = {key: value for rank in found for key, value in rank["gradients"].items()}
    assert gradients.keys() == expected.keys()
    assert all(torch.equal(gradients[key], expected[key]) for key in expected)
    assert [rank["most waiting"] for rank in found] == list(map(max, schedules.in_flight(SCHEDULES[name])))


def test_no_rank_has_the_weights_gradients_of_another():
    found = run(SCHEDULES["1f1b"], 2)
    assert not found[0]["gradients"].keys() & found[1]["gradients"].keys()


def test_one_forward_one_backward_needs_less_memory_than_gpipe():
    peaks = [run(make(2, 12), 4)[0]["peak"] for make in (schedules.gpipe, schedules.one_f_one_b)]
    assert peaks[0] > 2.5 * peaks[1]


def test_a_real_timeline_keeps_order_and_its_bubble_is_near_the_formula():
    schedule = schedules.one_f_one_b(2, 4)
    found = launch.run(pipeline.timelines_on_rank, 2, args=({"it": schedule}, 0.03, 2))
    found = pipeline.quickest([rank["it"] for rank in found], unit=1)
    assert [[action for action, _, _ in rank] for rank in found.ranks] == schedule
    starts = {action: start for rank in found.ranks for action, start, _ in rank}
    # A device sleeps before its stage sends. The end that a rank notes may come late: it may have to wait for a core.
    forward, backward = 0.03, 2 * 0.03
    for k in range(4):
        assert starts[Action("F", 1, k)] >= starts[Action("F", 0, k)] + forward
        assert starts[Action("B", 0, k)] >= starts[Action("B", 1, k)] + backward
    # The last rank idles until the first pass has come, and from its last one until the first rank's last is over.
    idle = starts[Action("F", 1, 0)] + found.end - (starts[Action("B", 1, 3)] + backward)
    share = schedules.bubble(2, 4)
    assert idle >= share / (1 - share) * 4 * (forward + backward) - 1e-6


def test_a_model_is_cut_without_loss_and_not_into_more_stages_than_blocks():
    model = Transformer(CONFIG)
    for stages in (1, 2, 3, 4):
        parts = pipeline.cut(model, stages)
        assert [m for part in parts for m in part] == model.chain
    with pytest.raises(ValueError, match="4 blocks do not make 5 stages"):
        pipeline.cut(model, 5)
