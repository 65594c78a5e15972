"""What a reader writes runs on real ranks: right functions pass their check, usual mistakes do not."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from effdl import launch
from effdl.exercises import exercises
from week03_data_parallel import practice, schedules

WEEK = Path(__file__).resolve().parent.parent
FACTOR = 3


def helper(x):
    return FACTOR * x


def with_helper(x):
    return float(torch.tensor(helper(x))) + np.float64(1)


def test_a_written_function_takes_along_what_it_names():
    written = practice.Written(with_helper)
    assert set(written.modules) == {"torch", "np"}
    assert set(written.values) == {"helper"}
    assert written(2) == 7


def test_a_written_function_may_call_itself():
    scope = {}
    exec("def down(n):\n    return n if n == 0 else down(n - 1)", scope)
    assert practice.Written(scope["down"])(5) == 0


def test_a_function_with_variables_of_another_is_refused():
    outer = 1

    def inner():
        return outer

    with pytest.raises(TypeError, match="pass them as arguments"):
        practice.Written(inner)


def test_a_stub_starts_no_process(monkeypatch):
    def stub(total):
        raise NotImplementedError

    monkeypatch.setattr(practice.launch, "run", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(NotImplementedError):
        practice.run(stub, practice.deal_on_rank, 2, 6)


def sends_first(chunks, leaving, arriving, add):
    rank, world = dist.get_rank(), dist.get_world_size()
    landing = torch.empty_like(chunks[arriving])
    dist.send(chunks[leaving], (rank + 1) % world)
    dist.recv(landing, (rank - 1) % world)
    chunks[arriving].add_(landing)


def never_replaces(chunks, leaving, arriving, add):
    practice.library_ring_step(chunks, leaving, arriving, True)


def test_a_ring_step_that_sends_first_ends_at_the_deadline():
    with pytest.raises(RuntimeError, match="deadline of 4 s passed"):
        practice.run(sends_first, practice.ring_on_rank, 2, 2**20, deadline=4)


def test_a_ring_step_that_always_adds_is_wrong():
    assert not any(right for right, _ in practice.run(never_replaces, practice.ring_on_rank, 2, 1000))


def in_a_loop(parameters):
    for p in parameters:
        dist.all_reduce(p.grad)
        p.grad /= dist.get_world_size()


def test_a_loop_of_all_reduces_is_right_and_counted():
    assert practice.run(in_a_loop, practice.average_on_rank, 2) == [(True, 26)] * 2


def all_at_the_end(buckets, start):
    def finish():
        for bucket in buckets:
            start(bucket.flat).wait()
            bucket.flat /= dist.get_world_size()

    return finish


def test_buckets_that_leave_at_the_end_are_right_and_do_not_overlap():
    assert practice.run(all_at_the_end, practice.overlap_on_rank, 2, 3, None) == [(True, [0, 0, 0])] * 2


def forgets(flat, left, share):
    indices = flat.abs().topk(round(share * flat.numel())).indices
    values = flat[indices]
    flat.zero_()
    flat[indices] = values / dist.get_world_size()
    dist.all_reduce(flat)


def test_top_k_that_forgets_and_sends_zeros_fails_both_counts():
    assert practice.run(forgets, practice.compress_on_rank, 2, 0.01) == [(False, True, False)] * 2


def mean_of_variances(model):
    for buffer in model.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= dist.get_world_size()


def test_the_mean_of_the_variances_is_not_the_joined_variance():
    assert practice.run(mean_of_variances, practice.statistics_on_rank, 2) == [(True, False)] * 2


def averages_each(model, loss, parts):
    for part in parts:
        (loss(part) / len(parts)).backward()


def test_an_average_for_each_micro_batch_sends_that_many_times_the_bytes():
    assert practice.run(averages_each, practice.accumulate_on_rank, 2, 4, deadline=300) == [(True, 4.0)] * 2


def sums_in_place_of_means(model, period):
    def after_step():
        flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        dist.all_reduce(flat)
        torch.nn.utils.vector_to_parameters(flat, model.parameters())

    for parameter in model.parameters():
        dist.broadcast(parameter.detach(), src=0)
    return after_step


def begins_apart(model, period):
    def after_step():
        flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        dist.all_reduce(flat)
        torch.nn.utils.vector_to_parameters(flat / dist.get_world_size(), model.parameters())

    return after_step


@pytest.mark.parametrize("wrong", [sums_in_place_of_means, begins_apart])
def test_equal_weights_at_the_end_are_not_enough_for_local_sgd(wrong):
    calls, right = zip(*practice.run(wrong, practice.local_on_rank, 2, 1, 2), strict=True)
    assert calls == (2, 2)
    assert not all(right)


def test_a_schedule_runs_on_as_many_processes():
    assert practice.executed(schedules.tree(3)) == [7.0] * 3


def test_pytorchs_own_pass_the_same_checks():
    assert launch.run(practice.ring_on_rank, 3, args=(practice.library_ring_step, 2**12))[0][0]
    assert launch.run(practice.local_on_rank, 2, args=(practice.library_local, 4, 16)) == [(4, True)] * 2
    assert launch.run(practice.deal_on_rank, 3, args=(practice.library_deal, 8)) == [
        [0, 3, 6],
        [1, 4, 7],
        [2, 5, 0],
    ]


def test_ddp_saves_rank_0s_statistics_and_sync_batch_norm_refuses_a_cpu():
    (first, joined), (second, same) = launch.run(practice.statistics_of_ddp_on_rank, 2, deadline=300)
    assert first == pytest.approx(0, abs=0.1)
    assert second == pytest.approx(2, abs=0.1)
    assert joined == same == pytest.approx(1, abs=0.1)
    answer = launch.run(practice.library_sync_on_rank, 2)[0]
    assert "expected input tensor to be on GPU" in answer or "differs from ours by" in answer


def test_the_overlap_of_the_page_survives_an_unused_layer():
    [solution] = [e.solution for e in exercises(WEEK / "seminar.md") if e.title.startswith("C.")]
    scope = {"torch": torch, "dist": dist}
    exec(solution, scope)
    assert practice.run(scope["overlap_buckets"], practice.overlap_on_rank, 2, 3, 0)[1] == (True, [1, 1, 1])
