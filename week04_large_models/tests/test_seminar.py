"""What the seminar shows of one step and of prefetching, and its exercises."""

import time
from pathlib import Path
from unittest import mock

import pytest
import torch

from effdl import launch
from effdl.exercises import exercises
from week04_large_models import against_fully_shard, checkpoint, one_step, slow_network
from week04_large_models.offload import Disk
from week04_large_models.transformer import Config, Transformer

WEEK = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def model():
    return Transformer(Config(length=32, width=32, heads=2, blocks=4, dropout=0.2))


def test_every_way_gives_the_gradients_of_the_plain_step(model):
    with Disk() as disk:
        for loss in (one_step.recomputed, one_step.recomputed_by_pytorch, one_step.moved(disk)):
            assert one_step.difference(model, loss, 4) == 0
    assert one_step.difference(model, one_step.with_another_mask, 4) > 1e-4


def test_less_is_kept_and_less_is_needed_at_the_worst_moment(model):
    one_step.gradients(model, one_step.kept, 4)
    kept, recomputed = (one_step.used(model, loss, 4) for loss in (one_step.kept, one_step.recomputed))
    assert recomputed[0] < kept[0] / 5
    assert recomputed[1] < kept[1] / 1.5


def test_saved_shapes_tell_weights_from_activations(model):
    x = torch.randn(2, 32, 32, requires_grad=True)
    saved = one_step.saved_shapes(model.blocks[0], x)
    weights = [shape for _, shape, weight in saved if weight]
    assert (32, 96) in weights
    assert ("float32", (2, 2, 32, 32), False) in saved


def prefetch_on_a_clock_on_rank(*arguments):
    """As `prefetch_on_rank`, on a clock that only sleeps move: on the system's, a busy machine would add to it."""
    naps = []
    sleep, clock = mock.Mock(side_effect=naps.append), mock.Mock(side_effect=lambda: sum(naps))
    with mock.patch.object(time, "sleep", sleep), mock.patch.object(time, "perf_counter", clock):
        return slow_network.prefetch_on_rank(*arguments)


def test_prefetching_hides_gathers_as_predicted():
    samples = launch.run(prefetch_on_a_clock_on_rank, 2, args=(4, 0.03, 2))[0]
    assert samples["when needed"] == pytest.approx([slow_network.predicted(4, 0.03, False)] * 2)
    assert samples["one unit ahead"] == pytest.approx([slow_network.predicted(4, 0.03, True)] * 2)
    assert samples["one unit ahead"] < samples["when needed"]


def test_prediction_without_a_network_is_compute_alone():
    compute = 3 * slow_network.FORWARD * 5
    assert (
        slow_network.predicted(5, 0.0, False)
        == slow_network.predicted(5, 0.0, True)
        == pytest.approx(compute)
    )
    # A gather that is longer than a layer forward and shorter than one backward shows in the forward pass alone.
    hidden = compute + 0.03 + 4 * (0.03 - slow_network.FORWARD)
    assert slow_network.predicted(5, 0.03, True) == pytest.approx(hidden)


def test_units_whole_at_once_are_counted_with_and_without_prefetching():
    config = Config(length=8, width=16, heads=2, blocks=2)
    assert launch.run(against_fully_shard.most_whole_on_rank, 2, args=(config, [False, True]))[0] == [1, 2]


EXERCISES = exercises(WEEK / "seminar.md")
CHECKED = [exercise for exercise in EXERCISES if exercise.cell]


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.title)
def test_printed_solution_passes_its_check_and_the_start_does_not(exercise):
    assert not exercise.verdict({}, solved=False)
    assert exercise.verdict({}, solved=True)


def test_there_are_three_exercises_with_a_check_and_an_open_one():
    assert [bool(exercise.cell) for exercise in EXERCISES] == [True, True, True, False]


def test_the_open_exercise_moves_the_inputs_of_all_blocks(model):
    scope = {"torch": torch, "checkpoint": checkpoint}
    exec(EXERCISES[-1].solution, scope)
    with Disk(pending=0) as disk:
        both = one_step.by_blocks(lambda block, x: scope["moved_checkpoint"](disk, block, x))
        assert one_step.difference(model, both, 4) == 0
        without, moved = (one_step.used(model, loss, 4)[0] for loss in (one_step.recomputed, both))
        assert without - moved == 4 * (4 * 32 * 32 * 4)  # the inputs of four blocks
