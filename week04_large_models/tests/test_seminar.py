"""What the seminar shows of one step, and its exercises."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from effdl import launch
from effdl.exercises import exercises
from effdl.transformer import Config, Transformer
from week04_large_models import against_fully_shard, checkpoint, one_step, trials
from week04_large_models.offload import Disk

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


def test_units_whole_at_once_are_counted_with_and_without_prefetching():
    config = Config(length=8, width=16, heads=2, blocks=2)
    assert launch.run(against_fully_shard.most_whole_on_rank, 2, args=(config, [False, True]))[0] == [1, 2]


EXERCISES = exercises(WEEK / "seminar.md")
CHECKED = [exercise for exercise in EXERCISES if exercise.cell]
NAMES = {"torch": torch, "dist": dist, "os": os, "trials": trials}


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.title)
def test_printed_solution_passes_its_check_and_the_start_does_not(exercise):
    assert not exercise.verdict(NAMES, solved=False)
    assert exercise.verdict(NAMES, solved=True)


def test_there_are_six_exercises_with_a_check_and_an_open_one():
    assert [exercise.title[0] for exercise in EXERCISES] == list("ABCDEFG")
    assert [bool(exercise.cell) for exercise in EXERCISES] == [True] * 6 + [False]


def test_the_open_exercise_moves_the_inputs_of_all_blocks(model):
    scope = {"torch": torch, "checkpoint": checkpoint}
    exec(EXERCISES[-1].solution, scope)
    with Disk(pending=0) as disk:
        both = one_step.by_blocks(lambda block, x: scope["moved_checkpoint"](disk, block, x))
        assert one_step.difference(model, both, 4) == 0
        without, moved = (one_step.used(model, loss, 4)[0] for loss in (one_step.recomputed, both))
        assert without - moved == 4 * (4 * 32 * 32 * 4)  # the inputs of four blocks
