"""What PyTorch calls what this week builds: each in the ten lines that one writes, and run on ranks.

Imports stand inside of the functions: a rank that does not need DTensors, pipelines or checkpoints saves seconds.
"""

import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models.pipeline import cut, micro_batches
from week04_large_models.training_run import Adam

BATCH = 8  # sequences of all ranks together


def on_a_mesh(config: Config, data: int, tensor: int) -> Transformer:
    """A transformer on a mesh of data x tensor ranks: MLPs cut by columns and rows, everything sharded by FSDP.

    Attention stays whole: its query, key and value lie in one matrix here, and `ColwiseParallel` would cut that in
    the middle of the keys. A model made for it has three.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (data, tensor), mesh_dim_names=("data", "tensor"))
    model = Transformer(config)
    for block in model.blocks:
        plan = {"mlp.up": ColwiseParallel(), "mlp.down": RowwiseParallel()}
        parallelize_module(block, mesh["tensor"], plan)
    for module in (*model.chain, model):
        fully_shard(module, mesh=mesh["data"])
    return model


def in_stages(config: Config, stage: int, stages: int, count: int):
    """This rank's stage of a transformer, and PyTorch's 1F1B schedule for `count` micro-batches."""
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B

    part = cut(Transformer(config), stages)[stage]
    here = PipelineStage(part, stage, stages, torch.device("cpu"))
    return part, Schedule1F1B(here, count, loss_fn=next_token_loss)


def save(model: nn.Module, folder: str | Path) -> None:
    """Write a sharded model as a distributed checkpoint: each rank its own shards."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    dcp.save(get_model_state_dict(model), checkpoint_id=folder)


def load(model: nn.Module, folder: str | Path) -> None:
    """Read such a checkpoint into a model that is sharded in another way, or over another number of ranks."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

    state = get_model_state_dict(model)  # says what this rank wants
    dcp.load(state, checkpoint_id=folder)
    set_model_state_dict(model, state)


# ---------------------------------------------------------------------------------------------------------------
# What ranks find
# ---------------------------------------------------------------------------------------------------------------


def mesh_on_rank(config: Config, steps: int, data: int = 2, tensor: int = 2) -> dict:
    """On a rank of the mesh: weights after training, where one MLP's parts are, and bytes of this rank's weights."""
    model = on_a_mesh(config, data, tensor)
    optimizer = Adam(model.parameters(), 1e-3)
    rank = dist.get_rank() // tensor  # ranks of one tensor group see the same samples
    for number in range(steps):
        tokens, targets = text_batch(number, BATCH, config.length)
        next_token_loss(model(tokens[rank::data]), targets[rank::data]).backward()
        optimizer.step()
    up = model.blocks[0].mlp.up.weight
    return {
        "weights": {name: p.full_tensor().detach() for name, p in model.named_parameters()},
        "up": f"{tuple(up.shape)} as {up.placements} here {tuple(up.to_local().shape)}",
        "bytes": sum(p.to_local().nbytes for p in model.parameters()),
    }


def pipeline_on_rank(config: Config, count: int, size: int) -> dict:
    """On a rank: gradients of its stage, under PyTorch's 1F1B."""
    rank, world = dist.get_rank(), dist.get_world_size()
    inputs, targets = (torch.cat(parts) for parts in micro_batches(config, count, size))
    part, schedule = in_stages(config, rank, world, count)
    if rank == 0:
        schedule.step(inputs)
    else:
        schedule.step(target=targets)
    model = Transformer(config)
    names = {id(p): name for name, p in model.named_parameters()}
    here = cut(model, world)[rank]
    pairs = zip(here.parameters(), part.parameters(), strict=True)
    return {names[id(known)]: p.grad for known, p in pairs}


def checkpoint_on_rank(folder: str | Path, config: Config, write: bool) -> dict:
    """On a rank: write a checkpoint of a sharded model, or read one into a model with other weights.

    Returns the whole weights, and for a writer the seconds that `save` and `async_save` keep the rank from training.
    """
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = Transformer(config, seed=0 if write else 1)
    for module in (*model.chain, model):
        fully_shard(module, mesh=mesh)
    seconds = {}
    if write:
        save(model, Path(folder) / "first")  # makes the plan
        begin = time.perf_counter()
        save(model, Path(folder) / "now")
        seconds["save"] = time.perf_counter() - begin
        begin = time.perf_counter()
        on_its_way = dcp.async_save(get_model_state_dict(model), checkpoint_id=Path(folder) / "meanwhile")
        seconds["async_save"] = time.perf_counter() - begin
        on_its_way.result()
    else:
        load(model, Path(folder) / "meanwhile")
    weights = {name: p.full_tensor().detach() for name, p in model.named_parameters()}
    return {"weights": weights, "seconds": seconds}
