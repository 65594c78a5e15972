"""PyTorch's own ways give the numbers of one process, and the slow network runs what it times."""

import pytest
import torch

from effdl import launch
from effdl.transformer import Config
from week04_large_models import pipeline, slow_network, training_run, with_pytorch
from week04_large_models.against_fully_shard import furthest, weights_of_one_process

CONFIG = Config(length=16, width=32, heads=2, blocks=2)
DEADLINE = 600


@pytest.mark.drawn(4)
def test_a_mesh_trains_as_one_process_and_holds_a_part_of_the_weights():
    alone = weights_of_one_process(CONFIG, 2, with_pytorch.BATCH)
    whole = sum(4 * weights.numel() for weights in alone.values())
    for found in launch.run(with_pytorch.mesh_on_rank, 4, args=(CONFIG, 2), deadline=DEADLINE):
        assert furthest(found["weights"], alone) < 1e-5
        assert whole / 4 < found["bytes"] < whole / 2  # attention in two, MLPs in four


def test_a_pipeline_of_pytorch_has_the_gradients_of_one_process():
    found = launch.run(with_pytorch.pipeline_on_rank, 2, args=(CONFIG, 4, 2), deadline=DEADLINE)
    alone = pipeline.one_process(CONFIG, 4, 2)[1]
    assert (found[0] | found[1]).keys() == alone.keys()
    assert furthest(found[0] | found[1], alone) < 1e-6


@pytest.mark.drawn(4)
def test_three_ranks_read_what_two_wrote(tmp_path):
    args = (str(tmp_path), CONFIG)
    written = launch.run(with_pytorch.checkpoint_on_rank, 2, args=(*args, True), deadline=DEADLINE)
    read = launch.run(with_pytorch.checkpoint_on_rank, 3, args=(*args, False), deadline=DEADLINE)
    assert all(furthest(rank["weights"], written[0]["weights"]) == 0 for rank in read)
    assert set(written[0]["seconds"]) == {"save", "async_save"}


@pytest.mark.drawn(4)
def test_torchrun_starts_a_killed_run_again_from_its_checkpoint(tmp_path):
    log = training_run.under_torchrun(tmp_path, 6, 2, kill=3)
    assert "exitcode" in log  # of the killed rank, or of the one that lost its neighbour
    losses = training_run.losses(tmp_path)
    begins = [record["from"] for record in losses]
    assert begins in ([0] * 3 + [2] * 4, [0] * 4 + [2] * 4)  # rank 0 may have written of step 3, or not
    by_step = {}
    for record in losses:
        assert by_step.setdefault(record["step"], record["loss"]) == record["loss"]


@pytest.mark.parametrize("run", ["prefetch", "data parallel"])
def test_what_is_timed_over_a_slow_link_runs(run):
    if run == "prefetch":
        found = launch.run(slow_network.prefetch_on_rank, 2, args=(3, 16, 4, 1e8, 2))
        assert all(len(times) == 2 for rank in found for times in rank.values())
    else:
        found = launch.run(slow_network.data_parallel_on_rank, 2, args=(2, 16, (4, 8), 1e8, 2))
        assert [list(rank) for rank in found] == [[4, 8]] * 2
        assert launch.run(slow_network.sums_on_rank, 2, args=(2, 16, 1e8))[0] > 0


def test_layers_have_the_weights_that_the_break_even_counts_on():
    assert sum(p.numel() for p in slow_network.layers(3, 16).parameters()) == 3 * (16 * 16 + 16)
    assert torch.isfinite(slow_network.layers(2, 8)(torch.ones(1, 8))).all()
