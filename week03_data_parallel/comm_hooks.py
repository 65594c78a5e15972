"""PyTorch's place for compression: communication hooks of DistributedDataParallel, its own and one of ours."""

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from week03_data_parallel import digits, optimizers, wire
from week03_data_parallel.races import interleaved


@dataclass
class TopKState:
    """What the hook below keeps between steps: the share that it sends, and what each bucket still owes."""

    share: float
    left: dict[int, torch.Tensor] = field(default_factory=dict)


def top_k_hook(state: TopKState, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Top-k with error feedback, as DistributedDataParallel calls it: the future's value becomes the gradients."""
    flat, number = bucket.buffer(), bucket.index()
    # After the first step PyTorch puts gradients into other buckets: what the old ones owe belongs to nobody.
    if number not in state.left or state.left[number].numel() != flat.numel():
        state.left[number] = torch.zeros_like(flat)
    left = state.left[number]
    left += flat
    indices = left.abs().topk(max(1, round(state.share * flat.numel()))).indices
    message = torch.stack([indices.int(), left[indices].view(torch.int32)])
    left[indices] = 0
    everyone = [torch.empty_like(message) for _ in range(dist.get_world_size())]
    # This waits. A hook that returns the future of a collective lets backward go on meanwhile.
    dist.all_gather(everyone, message)
    flat.zero_()
    for where, what in everyone:
        flat.index_add_(0, where.long(), what.view(torch.float32) / len(everyone))
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(flat)
    return done


def with_hook(model: nn.Module, name: str) -> DistributedDataParallel:
    """The model under DistributedDataParallel, with one of the hooks of `NAMES`."""
    ddp = DistributedDataParallel(model)
    if name == "fp16":
        ddp.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif name.startswith("PowerSGD"):
        # By default the first 1,000 steps send everything: start_powerSGD_iter.
        start = 1000 if "default" in name else 2
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=2, start_powerSGD_iter=start)
        ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    elif name == "top-k 1 % (ours)":
        ddp.register_comm_hook(TopKState(0.01), top_k_hook)
    return ddp


NAMES = ["no hook", "fp16", "PowerSGD, default", "PowerSGD from step 2", "top-k 1 % (ours)"]
"""What is compared."""


def compare_on_rank(
    names: list[str], steps: int, batch: int, rounds: int
) -> tuple[dict, dict[str, list[float]]]:
    """By hook: (bytes sent in the last half of `steps` steps, in copies of the weights a step; training loss), times.

    The times are seconds of one more step, in turns.
    """
    found, ways = {}, {}
    for name in names:
        model = digits.network()
        weights = sum(p.nbytes for p in model.parameters())
        ddp = with_hook(model, name)
        optimizer = optimizers.Momentum(model.parameters(), 0.05)
        stream = digits.batches(batch, seed=dist.get_rank())

        def step(ddp=ddp, optimizer=optimizer, stream=stream):
            x, y = next(stream)
            ddp.zero_grad()
            cross_entropy(ddp(x), y).backward()
            optimizer.step()

        before = 0
        for number in range(steps):
            if number == steps // 2:
                dist.barrier()  # what a send left in the kernel's buffer is not counted yet
                before = wire.socket_bytes()
            step()
        dist.barrier()
        sent = (wire.socket_bytes() - before) / (steps - steps // 2) / weights
        found[name] = (sent, digits.training_loss(model))
        ways[name] = step
    return found, interleaved(ways, rounds, warmup=1)
