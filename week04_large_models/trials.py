"""Runs what a reader has written in the notebook: on a model, on ranks that exchange real messages, under a kill.

A rank cannot import a function of the notebook. It travels as its compiled code (`packed`), with the functions of the
notebook that it calls; modules that it names must be the ordinary ones.

Each trial takes the reader's function and returns one that answers a question, for `check_exercise`.
"""

import importlib
import marshal
import os
import signal
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from effdl import launch
from effdl.transformer import Config, Transformer, next_token_loss
from week04_large_models import one_step, pipeline, schedules
from week04_large_models.offload import Disk
from week04_large_models.traffic import Sockets

MODEL = Config(length=32, width=64, heads=4, blocks=4)
DROPPING = Config(length=32, width=64, heads=4, blocks=4, dropout=0.2)
DEADLINE = 30  # seconds: ranks that wait for each other wait for ever


def packed(function: Callable) -> dict[str, Any]:
    """A function of a notebook as plain values: code, defaults, the modules and notebook functions that it names."""
    modules, functions = {}, {}

    def add(one: types.FunctionType) -> None:
        functions[one.__name__] = marshal.dumps(one.__code__), one.__defaults__
        for name in _names(one.__code__):
            value = one.__globals__.get(name)
            if isinstance(value, types.ModuleType):
                modules[name] = value.__name__
            elif isinstance(value, types.FunctionType) and name not in functions and _of_notebook(value):
                add(value)
            elif (
                isinstance(value, type) and value.__module__ in sys.modules and value.__module__ != "__main__"
            ):
                modules[name] = f"{value.__module__}:{value.__qualname__}"

    add(function)
    return {"name": function.__name__, "modules": modules, "functions": functions}


def unpacked(made: dict[str, Any]) -> Callable:
    """The function again, in another process."""
    space: dict[str, Any] = {"__builtins__": __builtins__}
    for name, path in made["modules"].items():
        module, _, inside = path.partition(":")
        space[name] = importlib.import_module(module)
        if inside:
            space[name] = getattr(space[name], inside)
    for name, (code, defaults) in made["functions"].items():
        space[name] = types.FunctionType(marshal.loads(code), space, name, defaults)
    return space[made["name"]]


def _names(code: types.CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _of_notebook(function: types.FunctionType) -> bool:
    return function.__module__ not in sys.modules or function.__module__ in ("__main__", "builtins")


def _on_ranks(trial: Callable, function: Callable, ranks: int, *args: Any) -> list:
    """What each rank returns; a function that is not written yet says so here as well."""
    try:
        return launch.run(trial, ranks, args=(packed(function), *args), deadline=DEADLINE)
    except launch.LaunchError as error:
        if "NotImplementedError" in str(error):
            raise NotImplementedError from None
        raise


# ---------------------------------------------------------------------------------------------------------------
# One process
# ---------------------------------------------------------------------------------------------------------------


def checkpoint(function: Callable) -> Callable[[str], Any]:
    """`function(block, x)` in place of every `block(x)`: "gradients", "gradients with dropout" differ by;
    "forgets": are at most 1.1 times the bytes kept that PyTorch's own checkpoint keeps?
    """

    def answer(question: str) -> Any:
        loss = one_step.by_blocks(function)
        if question.startswith("gradients"):
            config = DROPPING if "dropout" in question else MODEL
            return one_step.difference(Transformer(config), loss, 4)
        model = Transformer(MODEL)
        ours, theirs = (one_step.used(model, way, 4)[0] for way in (loss, one_step.recomputed_by_pytorch))
        return bool(ours <= 1.1 * theirs)

    return answer


def mover(function: Callable) -> Callable[[str], Any]:
    """`function(store, weights)` returns hooks: "gradients" differ by; "moves": do at least nine tenths of the bytes
    leave? "weights stay": does no weight go to the store?
    """

    def answer(question: str) -> Any:
        with Disk() as store:
            seen, put = [], store.put
            store.put = lambda tensor: (seen.append(tensor.untyped_storage().data_ptr()), put(tensor))[1]

            def loss(model, tokens, targets):
                with function(store, list(model.parameters())):
                    return next_token_loss(model(tokens), targets)

            model = Transformer(MODEL)
            if question == "gradients":
                return one_step.difference(model, loss, 4)
            between, kept = (one_step.used(model, way, 4)[0] for way in (loss, one_step.kept))
            if question == "moves":
                return bool(between <= kept / 10)
            return not {p.untyped_storage().data_ptr() for p in model.parameters()} & set(seen)

    return answer


# ---------------------------------------------------------------------------------------------------------------
# Ranks
# ---------------------------------------------------------------------------------------------------------------


def shards(function: Callable) -> Callable[[int, str], Any]:
    """`function(shard, loss)` on ranks: its "gradient" differs by; "tensors sent", to a tenth."""

    def answer(ranks: int, question: str) -> Any:
        found = _on_ranks(shards_on_rank, function, ranks)
        if question == "gradient":
            return max(apart for apart, _ in found)
        return round(max(sent for _, sent in found), 1)

    return answer


def shards_on_rank(made: dict) -> tuple[float, float]:
    """See `shards`. The loss is that of a layer of 60,000 weights on samples of this rank alone."""
    function, rank, world = unpacked(made), dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(60_000, generator=generator) / 100
    samples = torch.randn(world, 8, 200, generator=generator)

    def loss(whole: torch.Tensor, which: int = rank) -> torch.Tensor:
        return (samples[which] @ whole.view(200, 300)).tanh().square().sum()

    own = weights.chunk(world)[rank].clone()
    with Sockets() as wire:
        mine = function(own, loss)
    whole = weights.clone().requires_grad_()
    (sum(loss(whole, other) for other in range(world)) / world).backward()
    apart = float((mine - whole.grad.chunk(world)[rank]).abs().max())
    return (0.0 if apart < 1e-5 else apart), wire.sent / weights.nbytes


class _Order(TorchDispatchMode):
    """Notes matrix products in the order in which they run."""

    def __init__(self, notes: list[str]):
        super().__init__()
        self.notes = notes

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name in ("aten::mm", "aten::bmm", "aten::addmm"):
            self.notes.append("product")
        return function(*args, **(kwargs or {}))

    @classmethod
    def _should_skip_dynamo(cls):
        return False


class _Noted:
    """A sum on its way that notes when somebody waits for it."""

    def __init__(self, work: dist.Work, notes: list[str]):
        self.work, self.notes = work, notes

    def wait(self, *args: Any) -> Any:
        self.notes.append("wait")
        return self.work.wait(*args)


def columns(function: Callable) -> Callable[[str], Any]:
    """`function(gradient, x, weight)` on two ranks: "gradients" differ by; "hides": does a matrix product run while
    the sum is under way?
    """

    def answer(question: str) -> Any:
        found = _on_ranks(columns_on_rank, function, 2)
        return max(one[0] for one in found) if question == "gradients" else all(one[1] for one in found)

    return answer


def columns_on_rank(made: dict) -> tuple[float, bool]:
    """See `columns`."""
    function, rank, notes = unpacked(made), dist.get_rank(), []
    generator = torch.Generator().manual_seed(5)
    x, weight = torch.randn(4, 16, 32, generator=generator), torch.randn(64, 32, generator=generator)
    gradient = torch.randn(4, 16, 64, generator=generator)
    part, share = weight.chunk(2)[rank].clone(), gradient.chunk(2, -1)[rank].clone()
    all_reduce = dist.all_reduce

    def noted(*args: Any, async_op: bool = False, **kwargs: Any) -> _Noted | None:
        notes.append("sum")
        work = _Noted(all_reduce(*args, async_op=True, **kwargs), notes)
        return work if async_op else work.wait() and None

    with mock.patch.object(dist, "all_reduce", noted), _Order(notes):
        found = function(share, x, part)
    expected = [gradient @ weight, share.flatten(0, 1).T @ x.flatten(0, 1), share.sum((0, 1))]
    apart = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    during = notes[notes.index("sum") : notes.index("wait")] if {"sum", "wait"} <= set(notes) else []
    return (0.0 if apart < 1e-4 else apart), "product" in during


def one_f_one_b(function: Callable) -> Callable[[int, str], Any]:
    """`function(rank, ranks, count, forward, backward)` on ranks with 6 micro-batches: "gradients" differ by;
    "most waiting" micro-batches by rank.
    """

    def answer(ranks: int, question: str) -> Any:
        config = Config(length=16, width=32, heads=2, blocks=ranks)
        by_rank = _on_ranks(loop_on_rank, function, ranks, config, 6, 2)
        if question == "most waiting":
            return [waiting for waiting, _ in by_rank]
        alone, apart = _with_one_thread(lambda: pipeline.one_process(config, 6, 2)[1]), 0.0
        for _, gradients in by_rank:
            apart = max(apart, *(float((alone[name] - g).abs().max()) for name, g in gradients.items()))
        return apart

    return answer


def _with_one_thread(function: Callable[[], Any]) -> Any:
    """What a function returns with as many intra-op threads as a rank has: sums are then in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function()
    finally:
        torch.set_num_threads(threads)


def loop_on_rank(made: dict, config: Config, count: int, size: int) -> tuple[int, dict[str, torch.Tensor]]:
    """See `one_f_one_b`. Stages and messages are those of `pipeline.Pipeline`; the order is the reader's."""
    rank, world = dist.get_rank(), dist.get_world_size()
    model = Transformer(config)
    # The schedule says who has which stage; its order is not used.
    line = pipeline.Pipeline(
        schedules.gpipe(world, count), pipeline.cut(model, world), (size, config.length, config.width)
    )
    batches = pipeline.micro_batches(config, count, size)
    unpacked(made)(
        rank,
        world,
        count,
        lambda number: line.act(schedules.Action("F", rank, number), *batches),
        lambda number: line.act(schedules.Action("B", rank, number), *batches),
    )
    line.flush()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return line.most_waiting, gradients


def saver(function: Callable) -> Callable[[str], Any]:
    """`function(folder, step, state)` on two ranks: "in peace": what `step-7` holds, by rank; "killed": what is
    there when rank 1 dies in the middle of its file.
    """

    def answer(question: str) -> Any:
        with tempfile.TemporaryDirectory() as name:
            try:
                _on_ranks(save_on_rank, function, 2, name, question == "killed")
            except launch.LaunchError as error:
                if question != "killed" or "SIGKILL" not in str(error):
                    raise
            final = Path(name) / "step-7"
            if not final.exists():
                return "no checkpoint"
            return sorted(int(torch.load(path)["rank"]) for path in final.iterdir())

    return answer


def save_on_rank(made: dict, folder: str, killed: bool) -> None:
    """See `saver`."""
    write = torch.save

    def half(state: dict, file: Any) -> None:
        write(state, file)
        if killed and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch.object(torch, "save", half):
        unpacked(made)(Path(folder), 7, {"rank": torch.tensor(dist.get_rank()), "weights": torch.ones(1000)})
