"""What the seminar runs on ranks: exchanges, wrappers, bytes, and the program for torchrun."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch

from effdl import launch
from week03_data_parallel import digits, first_messages, step_times
from week03_data_parallel.data_parallel import SlowNetwork
from week03_data_parallel.point_to_point import SlowLink


def test_group_forms_from_the_environment_alone():
    answers = launch.run(first_messages.join_by_hand, ranks=2, backend=None)
    assert answers == ["rank 0 of 2 knows the sum 1", "rank 1 of 2 knows the sum 1"]


def test_two_senders_meet_only_without_an_order():
    assert launch.run(first_messages.both_send_and_receive, ranks=2, args=(2**20,)) == [1.0, 0.0]
    for nbytes in (4, 2**20):  # gloo waits for the receiver, however short the message
        with pytest.raises(launch.LaunchError, match="deadline"):
            launch.run(first_messages.both_send_first, ranks=2, args=(nbytes,), deadline=2)


def test_a_pending_receive_has_not_touched_the_tensor():
    assert launch.run(first_messages.read_too_early, ranks=2, args=(0.3,))[1] == (0.0, 7.0)


def test_ping_pong_times_every_size():
    samples = launch.run(first_messages.ping_pong, ranks=2, args=([4, 1024], 3))[0]
    assert {nbytes: len(times) for nbytes, times in samples.items()} == {4: 3, 1024: 3}
    assert min(times[0] for times in samples.values()) > 0


@contextlib.contextmanager
def in_double():
    """Inside, the digits and new networks are float64.

    In float32 one of some 80,000 values before a ReLU may lie so near to 0 that two orders of addition put it on two
    sides, and then the weights differ by 1e-4. In float64 that has a chance of 1e-11.
    """
    x, y = digits.images()
    with mock.patch.object(digits, "images", return_value=(x.double(), y)):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def compare_in_double_on_rank(*arguments):
    with in_double():
        return step_times.compare_on_rank(*arguments)


def test_all_wrappers_give_the_weights_of_one_process():
    answers = launch.run(compare_in_double_on_rank, ranks=2, args=(64, 5, 0.1, 1))
    by_rank = [weights for weights, _ in answers]
    assert all(len(seconds) == 1 for _, times in answers for seconds in times.values())
    with in_double():
        alone = step_times.weights_of_one_process(64, 5, 0.1)
    for weights in by_rank:
        assert len(weights) == 4
        for vector in weights.values():
            # Five steps of sums of up to 192 terms of at most 1 round by 5 * 192 * 2**-53 = 1e-13; ten times that.
            torch.testing.assert_close(vector, alone, atol=1e-12, rtol=0)


def test_no_sync_sends_once_for_all_micro_batches():
    try:
        sent = launch.run(step_times.bytes_on_rank, ranks=2, args=(4,))[0]
    except launch.LaunchError as error:
        if "sockets do not count" in str(error):
            pytest.skip("this kernel's sockets do not count their bytes")
        raise
    assert sent["no_sync"] == pytest.approx(sent["a sum for each"] / 4, rel=0.02)


def test_ranks_with_different_starts_stay_apart_and_a_broadcast_joins_them():
    assert launch.run(step_times.spread_on_rank, ranks=2, args=(False, 3))[0] > 0.01
    assert launch.run(step_times.spread_on_rank, ranks=2, args=(True, 3))[0] == 0


@contextlib.contextmanager
def clock_of_its_own():
    """Inside, this process sleeps in no time: its clock only moves by what it sleeps. A list of the naps."""
    naps = []
    sleep, clock = mock.Mock(side_effect=naps.append), mock.Mock(side_effect=lambda: sum(naps))
    with mock.patch.object(time, "sleep", sleep), mock.patch.object(time, "perf_counter", clock):
        yield naps


def network_on_rank():
    network = SlowNetwork(SlowLink(0.05, 0.05 / 4))
    one, two = torch.ones(1), torch.ones(1)
    with clock_of_its_own() as naps:
        sums = [network.start(one), network.start(two)]
        started = time.perf_counter()
        for each in sums:
            each.wait()
        return started, naps, float(one)


def test_a_slow_network_returns_at_once_and_delivers_one_after_another():
    for started, naps, total in launch.run(network_on_rank, ranks=2):
        assert started == 0
        assert naps == pytest.approx([0.1, 0.1])
        assert total == 2


@pytest.mark.drawn(4)
def test_training_program_runs_under_torchrun():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).resolve().parents[2]
    # Not every machine can look up its own name.
    program = [*command, "--local-addr", "127.0.0.1", "-m", "week03_data_parallel.train_digits"]
    loopback = {**os.environ, "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0"}
    done = subprocess.run(program, cwd=root, env=loopback, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) > 0.9


def overlap_on_a_clock_on_rank(*arguments):
    # On the system's clock a busy machine would decide which step is the shorter.
    with clock_of_its_own():
        return step_times.overlap_on_rank(*arguments)


def test_an_overlapped_step_on_a_device_and_a_network_takes_no_longer_than_its_parts():
    steps = launch.run(overlap_on_a_clock_on_rank, ranks=2, args=(4, (0.001, 0.03), 3))[0]
    parts = 4 * (0.01 + 0.02 + 0.031)
    assert steps["sent at the end"] == pytest.approx([parts] * 3)
    # The first bucket leaves after the first of four layers; the others wait for the link, which is the slower part.
    assert steps["sent when full"] == pytest.approx([4 * 0.01 + 0.02 + 4 * 0.031] * 3)
