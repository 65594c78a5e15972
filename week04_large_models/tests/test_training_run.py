"""Checkpoints of sharded state: any number of ranks reads them, none that is torn is used, and a curve goes on."""

import dataclasses
import os
import signal
import threading
import time

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from effdl import launch
from week04_large_models import sharded_checkpoint, training_run
from week04_large_models.sharded_checkpoint import Piece


def write_as(monkeypatch, folder, step, ranks, vector):
    """Write a checkpoint as `ranks` ranks would, one after another in this process."""
    monkeypatch.setattr(dist, "barrier", lambda: None)
    each = -(-len(vector) // ranks)
    for rank in range(ranks):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        part = vector[rank * each : (rank + 1) * each]
        sharded_checkpoint.write(folder, step, {"v": Piece(part, rank * each, len(vector))})
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    sharded_checkpoint.commit(folder, step)


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 40),
    ranks=st.integers(1, 5),
    cut=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.uint8]),
)
def test_any_stretch_of_a_vector_can_be_read_whoever_wrote_it(tmp_path_factory, size, ranks, cut, dtype):
    folder, vector = tmp_path_factory.mktemp("checkpoints"), torch.arange(size).to(dtype)
    start, end = sorted(min(place, size) for place in cut)
    with pytest.MonkeyPatch.context() as monkeypatch:
        write_as(monkeypatch, folder, 3, ranks, vector)
    assert torch.equal(sharded_checkpoint.load(folder, 3, {"v": (start, end)})["v"], vector[start:end])
    assert sharded_checkpoint.lengths(folder, 3) == {"v": size}


def test_a_changed_file_and_a_missing_one_are_refused(tmp_path, monkeypatch):
    write_as(monkeypatch, tmp_path, 1, 2, torch.arange(10.0))
    path = tmp_path / "step-00000001" / "rank-1.bin"
    raw = bytearray(path.read_bytes())
    raw[5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"rank-1.bin: v is not what was written"):
        sharded_checkpoint.load(tmp_path, 1, {"v": (0, 10)})
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="holds 5 of 10 elements of v"):
        sharded_checkpoint.load(tmp_path, 1, {"v": (0, 10)})
    with pytest.raises(KeyError, match="has no w; it has"):
        sharded_checkpoint.load(tmp_path, 1, {"w": (0, 1)})


def test_only_complete_checkpoints_count(tmp_path, monkeypatch):
    assert sharded_checkpoint.latest(tmp_path) is None
    write_as(monkeypatch, tmp_path, 5, 1, torch.zeros(1))
    (tmp_path / "step-00000009.part").mkdir()
    assert sharded_checkpoint.latest(tmp_path) == 5
    with pytest.raises(FileNotFoundError, match="the newest one is 5"):
        sharded_checkpoint.load(tmp_path, 9, {})


def curve(folder):
    """The loss of each step, and whether each attempt's losses agree to the bit."""
    found = {}
    for record in training_run.losses(folder):
        assert found.setdefault(record["step"], record["loss"]) == record["loss"], record
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    launch.run(training_run.train_on_rank, 2, args=(str(folder), 9, 4))
    return curve(folder)


@pytest.mark.parametrize(("killed", "resumed"), [(("step", 6), 4), (("save", 4), 0), (("save", 8), 4)])
def test_the_curve_goes_on_exactly(tmp_path, whole, killed, resumed):
    with pytest.raises(launch.LaunchError, match="SIGKILL"):
        launch.run(training_run.train_on_rank, 2, args=(str(tmp_path), 9, 4, killed))
    launch.run(training_run.train_on_rank, 2, args=(str(tmp_path), 9, 4))
    assert training_run.losses(tmp_path)[-1]["from"] == resumed
    assert curve(tmp_path) == whole


def train_and_say_who(folder):
    """As `train_on_rank`, after each rank has written its process id into `folder`."""
    with open(f"{folder}/pid-{dist.get_rank()}", "w") as file:
        file.write(str(os.getpid()))
    training_run.train_on_rank(folder, 9, 1)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_a_kill_from_outside_at_any_moment_costs_nothing(tmp_path, whole, delay):
    def kill():
        until = time.monotonic() + 600
        while len(list(tmp_path.glob("pid-*"))) < 2 or not (tmp_path / "pid-1").read_text():
            if time.monotonic() > until:
                return  # they never came up, which the run itself says
            time.sleep(0.001)
        time.sleep(delay)
        try:
            os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGKILL)
        except ProcessLookupError:
            missed.append(True)  # it had finished: the run below has nothing left to do

    missed = []
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        launch.run(train_and_say_who, 2, args=(str(tmp_path),))
    except launch.LaunchError as error:
        assert "SIGKILL" in str(error)  # noqa: PT017, a run that ends before the kill is no failure
    killer.join()
    launch.run(training_run.train_on_rank, 2, args=(str(tmp_path), 9, 1))
    assert curve(tmp_path) == whole


def weights_on_rank(folder, step):
    """All weights of a checkpoint, gathered by as many ranks as there are now."""
    run = training_run.Run()
    run.load(folder, step)
    return dict(run.model.full_parameters())


def test_three_ranks_read_what_two_have_written(tmp_path):
    launch.run(training_run.train_on_rank, 2, args=(str(tmp_path), 2, 2))
    by_two = launch.run(weights_on_rank, 2, args=(str(tmp_path), 2))[0]
    by_three = launch.run(weights_on_rank, 3, args=(str(tmp_path), 2))[2]
    assert by_two.keys() == by_three.keys()
    assert all(torch.equal(by_two[name], by_three[name]) for name in by_two)


def steps_on_rank(folder, load, steps):
    """Losses of some steps without dropout, from checkpoint `load` on; the state at the end is checkpoint 2."""
    run = training_run.Run(dataclasses.replace(training_run.CONFIG, dropout=0.0))
    if load:
        run.load(folder, load)
    losses = []
    for _ in range(steps):
        losses.append(run.gradients())
        run.update()
    if not load:
        sharded_checkpoint.write(folder, 2, run.state())
        sharded_checkpoint.commit(folder, 2)
    return losses


@pytest.mark.parametrize("ranks", [1, 3])
def test_another_number_of_ranks_goes_on_with_the_same_losses(tmp_path, ranks):
    first = launch.run(steps_on_rank, 2, args=(str(tmp_path), 0, 2))[0]
    expected = launch.run(steps_on_rank, 2, args=(str(tmp_path), 2, 3))[0]
    found = launch.run(steps_on_rank, ranks, args=(str(tmp_path), 2, 3))[0]
    assert found == pytest.approx(expected, abs=1e-5)
    assert expected[0] < first[0] - 0.2  # it did not begin anew: batches of an untrained model differ by less


def losses_without_on_rank(folder, forgotten):
    """Losses of the steps after checkpoint 9, with a part of the state as in a new run."""
    run = training_run.Run()
    run.load(folder, 9)
    if "random" in forgotten:
        torch.manual_seed(dist.get_rank())
    for moments in run.optimizer.moments:
        for name, values in zip(("first", "second"), moments, strict=True):
            if name in forgotten:
                values.zero_()
    losses = []
    for _ in range(3):
        losses.append(run.gradients())
        run.update()
    return losses


def test_a_forgotten_part_of_the_state_shows_in_the_losses_and_most_parts_only_a_little(tmp_path):
    launch.run(training_run.train_on_rank, 2, args=(str(tmp_path), 9, 9))
    expected = launch.run(losses_without_on_rank, 2, args=(str(tmp_path), ()))[0]
    largest = {}
    for forgotten in (("random",), ("first", "second"), ("second",)):
        found = launch.run(losses_without_on_rank, 2, args=(str(tmp_path), forgotten))[0]
        largest[forgotten] = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    assert 0 < largest["random",] < 0.1
    assert 0 < largest["first", "second"] < 0.1
    assert largest["second",] > 0.2
