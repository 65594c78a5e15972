"""Own sharded wrapper: weights of the plain way, a part of the state on each rank, few units whole at once."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from effdl import launch
from effdl.transformer import Config, Transformer
from week04_large_models import against_fully_shard as runs
from week04_large_models.against_fully_shard import furthest
from week04_large_models.sharding import FullySharded
from week04_large_models.traffic import Collectives

CONFIG = Config(length=16, width=24, heads=2, blocks=3)  # sizes that three ranks must pad


def test_weights_are_those_of_fully_shard_to_the_bit_and_of_one_process():
    alone = runs.weights_of_one_process(CONFIG, 3)
    for found in launch.run(runs.compare_on_rank, 2, args=(CONFIG, 3, 0)):
        assert furthest(found.weights["ours"], found.weights["fully_shard"]) == 0
        assert furthest(found.weights["ours"], alone) < 1e-5
        assert found.weights["ours"].keys() == alone.keys() == found.weights["fully_shard"].keys()
        assert furthest(found.weights["one by one"], alone) < 1e-5
        assert furthest(found.weights["replicated"], alone) < 1e-5
        assert found.state["ours"] <= found.state["one by one"] / 2 * 1.01


def kinds_on_rank():
    way = runs.PyTorchs(Transformer(CONFIG), 1e-3)
    held = {id(p) for p in way.optimizer.parameters}
    return {type(p).__name__ for p in way.optimizer.parameters}, held == {
        id(p) for p in way.model.parameters()
    }


def test_the_optimizer_beside_fully_shard_holds_its_parameters_themselves():
    assert launch.run(kinds_on_rank, 2) == [({"DTensor"}, True)] * 2


@pytest.mark.parametrize(
    ("prefetch", "reshard", "most"), [(True, True, 2), (False, True, 1), (False, False, 5)]
)
def test_every_variant_trains_alike_and_holds_the_units_it_says(prefetch, reshard, most):
    alone = runs.weights_of_one_process(CONFIG, 2)
    for weights, whole in launch.run(runs.variant_on_rank, 3, args=(CONFIG, prefetch, reshard, 2)):
        assert furthest(weights, alone) < 1e-5
        assert whole == most


def collectives_on_rank():
    way = runs.Ours(Transformer(CONFIG), 1e-3)
    with Collectives() as seen:
        runs.step(way, 0, CONFIG)
    return (
        seen.names,
        len(way.model.units),
        sum(unit.whole.nbytes for unit in way.model.units),
        seen.by_formula,
    )


def test_a_step_gathers_twice_and_scatters_once():
    for names, units, nbytes, sent in launch.run(collectives_on_rank, 2):
        # The last unit stays whole from its forward to its backward pass.
        assert names == {"allgather": 2 * units - 1, "reduce_scatter": units}
        assert sent < 3 * nbytes / 2


def accumulate_on_rank():
    """Gradients of two micro-batches, added up by the wrapper and by hand."""
    plain, sharded = Transformer(CONFIG), runs.Ours(Transformer(CONFIG), 1e-3)
    for number in range(2):
        for model in (plain, sharded.model):
            tokens, targets = runs.text_batch(number, 4, CONFIG.length)
            share = slice(dist.get_rank(), None, 2)
            runs.next_token_loss(model(tokens[share]), targets[share]).backward()
        sharded.finish()
    flat = torch.cat([p.grad.flatten() for p in plain.embedding.parameters()])
    dist.all_reduce(flat)
    return float((sharded.model.units[0].shard.grad - flat.chunk(2)[dist.get_rank()] / 2).abs().max())


def test_gradients_of_micro_batches_add_up():
    assert max(launch.run(accumulate_on_rank, 2)) < 1e-6


def look_before_the_step_on_rank():
    """A forward pass between backward and step, which no backward pass follows: does training notice it?"""
    found = []
    for look in (False, True):
        way = runs.Ours(Transformer(CONFIG), 1e-1, reshard_after_forward=False)
        for number in range(2):
            tokens, targets = runs.text_batch(number, 2, CONFIG.length)
            runs.next_token_loss(way.model(tokens), targets).backward()
            if look:
                way.model(tokens)
            way.finish()
            way.optimizer.step()
        found.append(way.weights())
    return furthest(*found)


def test_a_look_before_the_step_leaves_no_old_weights():
    assert launch.run(look_before_the_step_on_rank, 2) == [0, 0]


@pytest.mark.parametrize(
    ("module", "units", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), [0], "no unit holds the parameter 1.weight"),
        (nn.Sequential(nn.Linear(2, 2)), [0, 0], "share a parameter"),
    ],
)
def test_parameters_without_one_owner_are_refused(module, units, message):
    with pytest.raises(ValueError, match=message):
        FullySharded(module, [module[place] for place in units])
