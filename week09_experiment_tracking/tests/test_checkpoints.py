"""Checkpoints: killed and resumed to the bit, whole after a kill; and runs that differ in their last bits."""

import pytest
import torch

from week09_experiment_tracking import checkpoints, children, differences, lecture_tables


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resumed")
    return children.call("checkpoints", "resumed", folder=str(folder), steps=70, kill_after=45)


def test_a_killed_run_is_dead_and_its_checkpoint_is_in_the_middle_of_an_epoch(resumed):
    assert (resumed["status"], resumed["finished"], resumed["step"]) == (-9, False, 40)
    assert resumed["step"] % 32 != 0  # steps of an epoch


def test_resumed_equals_uninterrupted_to_the_bit(resumed):
    assert resumed[""]["equal"]
    assert resumed[""]["losses"] == resumed["whole"]


@pytest.mark.parametrize("without", checkpoints.FORGOTTEN)
def test_each_omission_is_seen(resumed, without):
    assert not resumed[without]["equal"]
    assert resumed[without]["losses"][:40] == resumed["whole"][:40]


def test_a_renamed_checkpoint_is_whole_after_every_kill(tmp_path):
    found = children.call("checkpoints", "killed_while_writing", folder=str(tmp_path), times=6)
    assert found["beside, then renamed"] == {"good": 6, "torn": 0, "lost": 0}


def test_a_state_goes_through_weights_only_and_back(tmp_path):
    training = checkpoints.Training()
    training.step()
    checkpoints.save(training.state(), tmp_path / "state")
    training.step()
    again = checkpoints.Training(seed=5)
    again.load(checkpoints.load(tmp_path / "state"))
    again.step()
    assert again.digest() == training.digest()
    assert again.losses == training.losses


def test_the_same_variant_again_has_distance_zero_and_another_seed_is_far():
    variants = {
        name: differences.VARIANTS[name] for name in ("again", "another seed", "order within a batch")
    }
    found = differences.apart([0, 5], variants)
    assert found["again"].distances == {0: 0.0, 5: 0.0}
    assert found["another seed"].distances[5] > 0.5
    assert found["order within a batch"].distances[0] == 0


def test_only_numbers_by_index_are_the_same_for_any_number_of_workers():
    assert differences.drawn("seed, epoch, index", 0) == differences.drawn("seed, epoch, index", 2)
    assert differences.drawn("global generator", 0) != differences.drawn("global generator", 2)
    assert len(set(differences.drawn("own generator of the data set", 2))) == 24


def test_a_deterministic_sum_is_one_and_leaves_the_switch_as_it_was():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert lecture_tables.different(lecture_tables.accumulate(rows=20_000)[1], 5) == 1
    finally:
        torch.set_num_threads(threads)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
