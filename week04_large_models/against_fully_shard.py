"""Our sharded wrapper beside PyTorch's `fully_shard` and its data parallelism, on ranks: weights, bytes, time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from effdl.bench import Comparison
from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models.calculator import alive
from week04_large_models.sharding import FullySharded
from week04_large_models.training_run import Adam

BATCH = 12  # sequences of all ranks together


class Replicated:
    """The plain way, by PyTorch's wrapper: everything on every rank, gradients summed in buckets during backward."""

    def __init__(self, model: Transformer, lr: float):
        self.model = torch.nn.parallel.DistributedDataParallel(
            model, gradient_as_bucket_view=True, init_sync=False
        )  # equal by their seed; and gloo frees the copies of a broadcast where our count does not look
        self.optimizer = Adam(self.model.parameters(), lr)

    def finish(self) -> None:
        """Let every gradient be ready for the optimizer."""

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of the whole parameters by name."""
        return {name: p.detach().clone() for name, p in self.model.module.named_parameters()}


class OneByOne(Replicated):
    """Data parallelism as nobody should write it: an all-reduce for each parameter, when backward is over."""

    def __init__(self, model: Transformer, lr: float):
        self.model, self.optimizer = model, Adam(model.parameters(), lr)

    def finish(self) -> None:
        """See `Replicated`."""
        for parameter in self.model.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()

    def weights(self) -> dict[str, torch.Tensor]:
        """See `Replicated`."""
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}


class Ours(Replicated):
    """Sharded by our wrapper; options as in `FullySharded`."""

    def __init__(self, model: Transformer, lr: float, **options: bool):
        self.model = FullySharded(model, model.chain, **options)
        self.optimizer = Adam(self.model.parameters(), lr)

    def finish(self) -> None:
        """See `Replicated`."""
        self.model.finish()

    def weights(self) -> dict[str, torch.Tensor]:
        """See `Replicated`."""
        return dict(self.model.full_parameters())


class PyTorchs(Replicated):
    """Sharded by `torch.distributed.fsdp.fully_shard`, whose parameters are DTensors."""

    def __init__(self, model: Transformer, lr: float):
        # Here, because the import takes seconds that the other ways do not need.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for block in model.chain:
            fully_shard(block, mesh=mesh)  # a unit: gathered before its forward and its backward pass
        fully_shard(model, mesh=mesh)  # the root: what is in no unit, and the order of all
        self.model = model
        self.optimizer = Adam(model.parameters(), lr)  # made after sharding: it must hold the DTensors

    def weights(self) -> dict[str, torch.Tensor]:
        """See `Replicated`."""
        return {name: p.full_tensor().detach() for name, p in self.model.named_parameters()}


WAYS: dict[str, Callable[[Transformer, float], Replicated]] = {
    "replicated": Replicated,
    "one by one": OneByOne,
    "ours": Ours,
    "fully_shard": PyTorchs,
}


def step(way: Replicated, number: int, config: Config) -> torch.Tensor:
    """One training step on this rank's share of a batch; return the loss."""
    tokens, targets = text_batch(number, BATCH, config.length)
    share = slice(dist.get_rank(), None, dist.get_world_size())
    loss = next_token_loss(way.model(tokens[share]), targets[share])
    loss.backward()
    way.finish()
    way.optimizer.step()
    return loss.detach()


@dataclass(frozen=True)
class Found:
    """What one rank found: by way, the weights after training, bytes, and the seconds of steps."""

    weights: dict[str, dict[str, torch.Tensor]]
    state: dict[str, int]  # bytes of weights and Adam's moments between two steps
    peak: dict[str, int]  # bytes in a step at the worst moment, above what is alive between steps
    seconds: dict[str, list[float]]

    def worst(self, name: str) -> int:
        """Bytes of a rank at the worst moment of a step, with what is alive between steps."""
        return self.state[name] + self.peak[name]


def compare_on_rank(config: Config, steps: int, rounds: int) -> Found:
    """Train `steps` steps in each way, measure one more, and time `rounds` steps of each in turn."""
    ways: dict[str, Replicated] = {}
    weights, state, peak = {}, {}, {}
    for name in WAYS:
        # What the wrapper says it keeps is not asked: the allocator knows what stayed.
        state[name] = alive(lambda name=name: ways.update({name: WAYS[name](Transformer(config), 1e-3)}))[-1]
        way = ways[name]
        for number in range(steps):
            step(way, number, config)
        weights[name] = way.weights()
        peak[name] = max(alive(lambda way=way: step(way, steps, config)))
    return Found(weights, state, peak, _interleaved(ways, config, rounds))


def furthest(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """The largest difference between tensors of the same name."""
    return float(max((one[name] - two[name]).abs().max() for name in one))


def rows(found: Found, alone: dict[str, torch.Tensor]) -> list[list[str]]:
    """For a table: each way, its difference from one process, bytes of state and at the worst moment, time."""
    speed = Comparison(found.seconds)
    return [
        [
            name,
            f"{furthest(weights, alone):.1g}",
            f"{found.state[name] / 1e6:.1f} MB",
            f"{found.worst(name) / 1e6:.1f} MB",
            f"{speed.ratio(name, 'replicated').value:.2f}x",
        ]
        for name, weights in found.weights.items()
    ]


def weights_of_one_process(config: Config, steps: int, batch: int = BATCH) -> dict[str, torch.Tensor]:
    """The same training on one process with the whole batch, without a process group."""
    model = Transformer(config)
    optimizer = Adam(model.parameters(), 1e-3)
    for number in range(steps):
        tokens, targets = text_batch(number, batch, config.length)
        next_token_loss(model(tokens), targets).backward()
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


def variant_on_rank(config: Config, prefetch: bool, reshard: bool, steps: int) -> tuple[dict, int]:
    """On a rank: weights that a variant of our wrapper trains, and how many units were whole at once."""
    way = Ours(Transformer(config), 1e-3, prefetch=prefetch, reshard_after_forward=reshard)
    for number in range(steps):
        step(way, number, config)
    return way.weights(), way.model.most_whole


def most_whole_on_rank(config: Config, prefetch: list[bool]) -> list[int]:
    """On a rank: how many units were whole at once in a step, with and without prefetching."""
    return [variant_on_rank(config, ahead, True, 1)[1] for ahead in prefetch]


def _interleaved(ways: dict[str, Replicated], config: Config, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step until the last rank has finished it: A B C, C B A, and so on."""
    samples: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for turn in range(rounds):
        for name in order:
            dist.barrier()
            begin = time.perf_counter()
            step(ways[name], turn, config)
            dist.barrier()
            samples[name].append(time.perf_counter() - begin)
        order.reverse()
    return samples
