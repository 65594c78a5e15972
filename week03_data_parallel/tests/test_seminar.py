"""What the seminar runs on ranks: exchanges, wrappers, bytes, and the program for torchrun."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from effdl import launch
from week03_data_parallel import first_messages, step_times
from week03_data_parallel.data_parallel import SlowNetwork
from week03_data_parallel.point_to_point import SlowLink


def test_group_forms_from_the_environment_alone():
    answers = launch.run(first_messages.join_by_hand, ranks=2, backend=None)
    assert answers == ["rank 0 of 2 knows the sum 1", "rank 1 of 2 knows the sum 1"]


def test_two_senders_meet_only_without_an_order():
    assert launch.run(first_messages.both_send_and_receive, ranks=2, args=(2**20,)) == [1.0, 0.0]
    with pytest.raises(launch.LaunchError, match="deadline"):
        launch.run(first_messages.both_send_first, ranks=2, args=(2**20,), deadline=2)


def test_a_pending_receive_has_not_touched_the_tensor():
    assert launch.run(first_messages.read_too_early, ranks=2, args=(0.3,))[1] == (0.0, 7.0)


def test_ping_pong_times_every_size():
    samples = launch.run(first_messages.ping_pong, ranks=2, args=([4, 1024], 3))[0]
    assert {nbytes: len(times) for nbytes, times in samples.items()} == {4: 3, 1024: 3}
    assert min(times[0] for times in samples.values()) > 0


def test_all_wrappers_give_the_weights_of_one_process():
    answers = launch.run(step_times.compare_on_rank, ranks=2, args=(64, 5, 0.1, 1))
    by_rank = [weights for weights, _ in answers]
    assert all(len(seconds) == 1 for _, times in answers for seconds in times.values())
    alone = step_times.weights_of_one_process(64, 5, 0.1)
    for weights in by_rank:
        assert len(weights) == 4
        for vector in weights.values():
            torch.testing.assert_close(vector, alone, atol=1e-6, rtol=0)


def test_no_sync_sends_once_for_all_micro_batches():
    sent = launch.run(step_times.bytes_on_rank, ranks=2, args=(4,))[0]
    assert sent["no_sync"] == pytest.approx(sent["a sum for each"] / 4, rel=0.02)


def test_ranks_with_different_starts_stay_apart_and_a_broadcast_joins_them():
    assert launch.run(step_times.spread_on_rank, ranks=2, args=(False, 3))[0] > 0.01
    assert launch.run(step_times.spread_on_rank, ranks=2, args=(True, 3))[0] == 0


def network_on_rank():
    network = SlowNetwork(SlowLink(0.05, 0.05 / 4))
    one, two = torch.ones(1), torch.ones(1)
    dist.barrier()
    begin = time.perf_counter()
    sums = [network.start(one), network.start(two)]
    started = time.perf_counter() - begin
    for each in sums:
        each.wait()
    return started, time.perf_counter() - begin, float(one)


def test_a_slow_network_returns_at_once_and_delivers_one_after_another():
    for started, finished, total in launch.run(network_on_rank, ranks=2):
        assert started < finished
        assert finished >= 2 * 0.1
        assert total == 2


def test_training_program_runs_under_torchrun():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).resolve().parents[2]
    program = [*command, "-m", "week03_data_parallel.train_digits"]
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) > 0.9


def test_an_overlapped_step_on_a_device_and_a_network_takes_no_longer_than_its_parts():
    steps = launch.run(step_times.overlap_on_rank, ranks=2, args=(4, (0.001, 0.03), 3))[0]
    parts = 4 * (0.01 + 0.02 + 0.031)
    assert min(steps["sent at the end"]) >= parts
    assert min(steps["sent when full"]) < min(steps["sent at the end"])
