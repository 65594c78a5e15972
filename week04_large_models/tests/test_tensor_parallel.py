"""A model split over ranks is the whole model, with two sums in each block and none of the logits."""

import pytest
import torch
import torch.distributed as dist

from effdl import launch
from effdl.transformer import Config, Transformer, text_batch
from week04_large_models import tensor_parallel

CONFIG = Config(length=16, width=32, heads=4, blocks=2)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_split_model_is_the_whole_one(ranks):
    for found in launch.run(tensor_parallel.compare_on_rank, ranks, args=(CONFIG, 3)):
        assert found["output"] < 1e-5
        assert found["loss"] < 1e-5
        assert found["gradients"] < 1e-5


def test_two_sums_in_each_block_and_no_logits_on_the_wire():
    for found in launch.run(tensor_parallel.compare_on_rank, 2, args=(CONFIG, 3)):
        assert found["one block"] == {"allreduce": 2}
        assert found["forward"] == {"allreduce": 2 * CONFIG.blocks}
        assert found["backward"] == {"allreduce": 2 * CONFIG.blocks + 1}
        assert found["of the loss"] == {"allreduce": 3}
        three_numbers = 3 * 3 * CONFIG.length * 4  # of each token; headers and barriers besides
        assert three_numbers <= found["loss bytes"] <= three_numbers + 6000


def dropout_on_rank():
    """Masks that a rank's heads drew in two passes, and the output that all ranks should have in common."""
    config = Config(length=8, width=16, heads=2, blocks=1, dropout=0.5)
    model = tensor_parallel.split(Transformer(config))
    masks = []
    dropout = model.blocks[0].attention.part.dropout
    dropout.register_forward_hook(lambda module, inputs, output: masks.append(output == 0))
    torch.manual_seed(0)
    x = model.embedding(text_batch(0, 2, 8)[0])
    outputs = [model.blocks[0](x).detach() for _ in range(2)]
    return masks, outputs


def test_ranks_drop_other_weights_of_their_heads_and_the_same_of_what_they_share():
    (masks0, outputs0), (masks1, outputs1) = launch.run(dropout_on_rank, 2)
    assert all(torch.equal(a, b) for a, b in zip(outputs0, outputs1, strict=True))
    assert not torch.equal(outputs0[0], outputs0[1])
    assert not torch.equal(masks0[0], masks1[0])
    assert not torch.equal(masks0[0], masks0[1])


def refuse_on_rank():
    with pytest.raises(ValueError, match="4 heads do not divide among 3 ranks"):
        tensor_parallel.split(Transformer(CONFIG))
    return dist.get_rank()


def test_heads_that_do_not_divide_are_refused():
    assert launch.run(refuse_on_rank, 3) == [0, 1, 2]
