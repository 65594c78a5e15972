"""Executes a pipeline schedule: each rank runs its list of actions, and messages pass between neighbours.

A message carries a tag made of its kind, stage and micro-batch, and leaves without waiting for its receiver. So
whatever order a schedule has, a rank waits only for what the next action needs, and for nothing else.
"""

import time
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from effdl.stand_ins import OnADevice
from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models.calculator import alive
from week04_large_models.schedules import Action, Schedule, Timeline


class Pipeline:
    """This rank's stages of a model, and the schedule by which micro-batches pass through them.

    `parts` are all stages in order; only those that the schedule gives to this rank are used. Between stages travel
    float32 tensors of one `shape`. Gradients of micro-batches add up in the parameters.
    """

    def __init__(self, schedule: Schedule, parts: Sequence[nn.Module], shape: tuple[int, ...]):
        self.actions, self.parts, self.shape = schedule[dist.get_rank()], parts, shape
        self.place = {action.stage: rank for rank, actions in enumerate(schedule) for action in actions}
        self.waiting: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}
        self.most_waiting = 0
        self._inbox: dict[Action, torch.Tensor] = {}
        self._sent: list[tuple[dist.Work, torch.Tensor]] = []

    def run(
        self, inputs: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]
    ) -> tuple[float, list[tuple]]:
        """One step: the mean loss of the micro-batches, on other ranks than the last stage's 0; and what ran when.

        inputs and targets: for each micro-batch int64 (batch, length); every rank has them, though few need them.
        """
        done = [self.act(action, inputs, targets) for action in self.actions]
        self.flush()
        times = [(action, *both) for action, (_, *both) in zip(self.actions, done, strict=True)]
        return sum(loss for loss, *_ in done), times

    def act(self, action: Action, inputs, targets) -> tuple[float, float, float]:
        """One action: wait for its input, compute, let the result go. Returns its loss, or 0; its start; its end."""
        arrived = self._receive(action)
        begin, loss = time.perf_counter(), 0.0
        if action.kind == "F":
            loss = self._forward(action, inputs, targets, arrived)
        else:
            self._backward(action, arrived)
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        return loss, begin, time.perf_counter()

    def flush(self) -> None:
        """Wait until all messages have left."""
        for work, _ in self._sent:
            work.wait()
        self._sent.clear()

    def _forward(self, action: Action, inputs, targets, arrived: torch.Tensor | None) -> float:
        stage, number, loss = action.stage, action.micro_batch, 0.0
        x = inputs[number] if stage == 0 else arrived.requires_grad_()
        y = self.parts[stage](x)
        if stage == len(self.parts) - 1:
            y = next_token_loss(y, targets[number]) / len(targets)
            loss = y.item()
        else:
            self._send(y.detach(), Action("F", stage + 1, number))
        self.waiting[stage, number] = x, y
        return loss

    def _backward(self, action: Action, arrived: torch.Tensor | None) -> None:
        x, y = self.waiting.pop((action.stage, action.micro_batch))
        y.backward(arrived)  # the loss is a number and needs no gradient from elsewhere
        if action.stage > 0:
            self._send(x.grad, Action("B", action.stage - 1, action.micro_batch))

    def _send(self, tensor: torch.Tensor, needed_by: Action) -> None:
        """Let `tensor` go to the rank of the action that needs it."""
        rank = self.place[needed_by.stage]
        if rank == dist.get_rank():
            self._inbox[needed_by] = tensor
        else:
            # A message that has left frees its tensor; the others must keep theirs.
            self._sent = [(work, kept) for work, kept in self._sent if not work.is_completed()]
            self._sent.append((dist.isend(tensor.contiguous(), rank, tag=self._tag(needed_by)), tensor))

    def _receive(self, action: Action) -> torch.Tensor | None:
        """What another stage has for this action; None for the ends of the pipeline."""
        last = len(self.parts) - 1
        stage = action.stage - 1 if action.kind == "F" else action.stage + 1
        if not 0 <= stage <= last:
            return None
        if self.place[stage] == dist.get_rank():
            return self._inbox.pop(action)
        tensor = torch.empty(self.shape)
        dist.recv(tensor, self.place[stage], tag=self._tag(action))
        return tensor

    def _tag(self, action: Action) -> int:
        return (action.micro_batch * len(self.parts) + action.stage) * 2 + (action.kind == "B")


def cut(model: Transformer, stages: int) -> list[nn.Sequential]:
    """The chain of a model in `stages` parts of consecutive modules, with equally many blocks, or one block less.

    The first has the embedding as well, the last the head. Raises ValueError for more stages than blocks.
    """
    if not 1 <= stages <= len(model.blocks):
        raise ValueError(
            f"{len(model.blocks)} blocks do not make {stages} stages: give 1 to {len(model.blocks)}"
        )
    ends = [-(-len(model.blocks) * (stage + 1) // stages) for stage in range(stages)]
    groups = [list(model.blocks[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    groups[0].insert(0, model.embedding)
    groups[-1].append(model.head)
    return [nn.Sequential(*group) for group in groups]


def micro_batches(config: Config, count: int, size: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Inputs and targets of `count` micro-batches of `size` sequences."""
    pairs = [text_batch(number, size, config.length) for number in range(count)]
    return [tokens for tokens, _ in pairs], [targets for _, targets in pairs]


def stages_and_micro_batches(schedule: Schedule) -> tuple[int, int]:
    """How many stages a schedule has, and how many micro-batches."""
    actions = [action for of_rank in schedule for action in of_rank]
    return 1 + max(action.stage for action in actions), 1 + max(action.micro_batch for action in actions)


def one_process(config: Config, count: int, size: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the same micro-batches, one after another on the whole model.

    Equal to the ranks' to the last bit with as many intra-op threads as a rank has, which is one.
    """
    model, total = Transformer(config), 0.0
    for tokens, targets in zip(*micro_batches(config, count, size), strict=True):
        loss = next_token_loss(model(tokens), targets) / count
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in model.named_parameters()}


def run_on_rank(schedules: dict[str, Schedule], config: Config, size: int) -> dict[str, dict]:
    """On a rank, for each schedule: loss, gradients of its stages by name, and what waited at most.

    "most waiting" is in micro-batches; "peak" is the bytes of a step at its worst moment, gradients included.
    """
    return {name: _run(schedule, config, size) for name, schedule in schedules.items()}


def _run(schedule: Schedule, config: Config, size: int) -> dict:
    model, (stages, count) = Transformer(config), stages_and_micro_batches(schedule)
    pipeline = Pipeline(schedule, cut(model, stages), (size, config.length, config.width))
    batches = micro_batches(config, count, size)
    losses = []
    bytes_alive = alive(lambda: losses.append(pipeline.run(*batches)[0]))
    return {
        "loss": losses[0],
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        "most waiting": pipeline.most_waiting,
        "peak": max(bytes_alive),
    }


def timelines_on_rank(
    schedules: dict[str, Schedule], seconds: float, rounds: int
) -> dict[str, list[list[tuple]]]:
    """On a rank, for each schedule and round: (action, start, end) in seconds of a clock that all ranks share.

    Stages are on devices: a forward takes `seconds`, a backward twice that. The model in them is tiny.
    """
    # The first step of a process opens connections and loads code.
    _times(next(iter(schedules.values())), 0.0)
    return {name: [_times(each, seconds) for _ in range(rounds)] for name, each in schedules.items()}


def _times(schedule: Schedule, seconds: float) -> list[tuple[Action, float, float]]:
    stages, count = stages_and_micro_batches(schedule)
    config = Config(length=4, width=8, heads=1, blocks=stages)
    parts = [OnADevice(part, seconds) for part in cut(Transformer(config), stages)]
    pipeline = Pipeline(schedule, parts, (1, config.length, config.width))
    batches = micro_batches(config, count, 1)
    dist.barrier()
    return pipeline.run(*batches)[1]


def quickest(by_rank: Sequence[list[list[tuple]]], unit: float) -> Timeline:
    """The shortest of the rounds that the ranks measured: what disturbs a step only makes it longer."""
    return min((_timeline(ranks, unit) for ranks in zip(*by_rank, strict=True)), key=lambda found: found.end)


def _timeline(by_rank: Sequence[list[tuple[Action, float, float]]], unit: float) -> Timeline:
    """One clock for all ranks that begins at 0 and counts in units of `unit` seconds."""
    zero = min(start for actions in by_rank for _, start, _ in actions)
    return Timeline(
        [
            [(a, (start - zero) / unit, (end - zero) / unit) for a, start, end in actions]
            for actions in by_rank
        ]
    )
