"""Trials of a reader's functions: wrong ones are found, and code of a notebook arrives on ranks."""

import textwrap

import pytest
import torch
import torch.distributed as dist

from effdl import launch
from week04_large_models import trials


def written(code):
    """The last function of a notebook cell."""
    space = {"torch": torch, "dist": dist}
    exec(textwrap.dedent(code), space)
    return [value for value in space.values() if callable(value)][-1]


def test_a_function_travels_with_the_functions_and_modules_that_it_names():
    made = trials.packed(
        written("""
        def half(x, by=2):
            return x / by
        def both(x):
            return torch.ones(1) * sum(half(y) for y in (x, x))
        """)
    )
    assert trials.unpacked(made)(3) == 3
    assert made["modules"] == {"torch": "torch"}


def test_what_is_not_written_yet_says_so_on_ranks_too():
    stub = written("def stub(shard, loss):\n    raise NotImplementedError")
    with pytest.raises(NotImplementedError):
        trials.shards(stub)(2, "gradient")


def test_a_checkpoint_that_forgets_nothing_or_draws_anew_is_found():
    plain = written("def plain(function, x):\n    return function(x)")
    assert trials.checkpoint(plain)("gradients with dropout") == 0
    assert trials.checkpoint(plain)("forgets") is False
    another = written("""
        def another(function, x):
            import week04_large_models.checkpoint as c
            return c.checkpoint(function, x, random_state=False)
        """)
    assert trials.checkpoint(another)("gradients") == 0
    assert trials.checkpoint(another)("gradients with dropout") > 1e-4
    assert trials.checkpoint(another)("forgets") is True


def test_hooks_that_move_weights_or_nothing_are_found():
    everything = written("""
        def everything(store, weights):
            return torch.autograd.graph.saved_tensors_hooks(store.put, store.get)
        """)
    assert trials.mover(everything)("gradients") == 0
    assert trials.mover(everything)("weights stay") is False
    nothing = written("""
        def nothing(store, weights):
            return torch.autograd.graph.saved_tensors_hooks(lambda x: x.detach(), lambda x: x)
        """)
    assert trials.mover(nothing)("moves") is False


def test_a_gradient_that_is_summed_whole_sends_too_much_and_one_not_divided_is_wrong():
    wasteful = written("""
        def wasteful(shard, loss):
            world = dist.get_world_size()
            whole = torch.empty(len(shard) * world)
            dist.all_gather_into_tensor(whole, shard)
            loss(whole.requires_grad_()).backward()
            for _ in range(2):
                dist.all_reduce(whole.grad)
            return whole.grad.chunk(world)[dist.get_rank()] / world**2
        """)
    trial = trials.shards(wasteful)
    assert trial(2, "gradient") == 0
    assert trial(2, "tensors sent") == 2.5
    own = written("def own(shard, loss):\n    return torch.zeros_like(shard)")
    assert trials.shards(own)(2, "gradient") > 1e-3


def test_a_column_layer_that_waits_at_once_hides_nothing():
    waits = written("""
        def waits(gradient, x, weight):
            to_input = gradient @ weight
            dist.all_reduce(to_input)
            return to_input, gradient.flatten(0, 1).T @ x.flatten(0, 1), gradient.sum((0, 1))
        """)
    assert trials.columns(waits)("gradients") == 0
    assert trials.columns(waits)("hides") is False
    alone = written("""
        def alone(gradient, x, weight):
            return gradient @ weight, gradient.flatten(0, 1).T @ x.flatten(0, 1), gradient.sum((0, 1))
        """)
    assert trials.columns(alone)("gradients") > 1


def test_gpipe_is_no_1f1b_and_ranks_that_wait_for_each_other_are_named(monkeypatch):
    gpipe = written("""
        def gpipe(rank, ranks, count, forward, backward):
            for number in range(count):
                forward(number)
            for number in range(count):
                backward(number)
        """)
    assert trials.one_f_one_b(gpipe)(2, "gradients") == 0
    assert trials.one_f_one_b(gpipe)(2, "most waiting") == [6, 6]
    stuck = written("""
        def stuck(rank, ranks, count, forward, backward):
            for number in range(count):
                forward(number)
                backward(number) if rank == 0 else None
        """)
    monkeypatch.setattr(trials, "DEADLINE", 3)
    with pytest.raises(launch.LaunchError):
        trials.one_f_one_b(stuck)(2, "gradients")


def test_a_checkpoint_under_its_own_name_is_seen_half_written():
    careless = written("""
        def careless(folder, step, state):
            final = folder / f"step-{step}"
            final.mkdir(exist_ok=True)
            torch.save(state, str(final / f"rank-{dist.get_rank()}.pt"))
            dist.barrier()
        """)
    assert trials.saver(careless)("in peace") == [0, 1]
    assert trials.saver(careless)("killed") != "no checkpoint"
