"""Offloading as a race between a link and the computation: a model of it, and a link of any speed to run it over."""

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch

from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models.calculator import alive
from week04_large_models.offload import offload

PARTS = 12  # tensors that a block saves, more or less

Span = tuple[int, float, float]
"""(block, begin, end), in seconds."""


@dataclass
class Timeline:
    """What the computing device and the two directions of its link do in one step."""

    compute: list[Span] = field(default_factory=list)
    out: list[Span] = field(default_factory=list)
    back: list[Span] = field(default_factory=list)

    @property
    def end(self) -> float:
        """Seconds until the last backward pass is over."""
        return self.compute[-1][2]


def simulate(
    blocks: int, forward: float, backward: float, transfer: float, buffers: int | None = None
) -> Timeline:
    """The timeline of a step over equal blocks whose saved tensors leave the device and come back.

    Args:
        blocks: how many, computed in order and then in reverse.
        forward, backward: seconds that a block computes.
        transfer: seconds that a block's saved tensors take, one way; the two ways do not disturb each other.
        buffers: blocks whose tensors find room on the device besides the one that is computed; None is no limit.

    What has not left when the backward pass begins does not leave.
    """
    buffers = blocks if buffers is None else buffers
    line, clock, link = Timeline(), 0.0, 0.0
    for i in range(blocks):
        if i > buffers:
            clock = max(clock, line.out[i - buffers - 1][2])  # wait for room
        line.compute.append((i, clock, clock + forward))
        clock += forward
        link = max(clock, link) + transfer
        line.out.append((i, link - transfer, link))
    line.out = [span for span in line.out if span[2] <= clock]
    away, link = len(line.out), clock
    freed = {}  # when the backward pass of a block was over
    for i in reversed(range(blocks)):
        if i < away:
            room = freed.get(i + buffers + 1, clock if i + buffers + 1 < blocks else 0.0)
            begin = max(link, room)
            link = begin + transfer
            line.back.append((i, begin, link))
            clock = max(clock, link)
        line.compute.append((i, clock, clock + backward))
        clock += backward
        freed[i] = clock
    return line


@dataclass(eq=False)
class _Ticket:
    """A tensor that left: its copy, and the tensor itself as long as it is still, or again, on the device."""

    number: int
    copy: np.ndarray
    device: torch.device
    here: torch.Tensor | None
    end: float  # when its last transfer is over


class Link:
    """A store for `offload` at the end of a link with `bandwidth` bytes per second in each direction.

    The copies are NumPy arrays, which `effdl.memory` does not count: another memory. The link's time is slept, not
    worked, so that a slow link leaves the cores to the computation. At most `room` bytes wait to leave, and at most
    `room` bytes have come back before they are asked for.
    """

    def __init__(self, bandwidth: float, room: float = float("inf")):
        self.bandwidth, self.room = bandwidth, room
        self.offered = 0  # bytes that were put; a tensor that two operations save is put twice
        self.moved = 0  # bytes of these that left
        self._leaving: deque[_Ticket] = deque()
        self._away: list[_Ticket] = []  # in order of leaving: the last is needed first
        self._coming: deque[_Ticket] = deque()
        self._free = {"out": 0.0, "back": 0.0}  # when each direction is free

    def put(self, tensor: torch.Tensor) -> _Ticket:
        """Begin to send a tensor away; waits while there is no room for more that has not left."""
        ticket = _Ticket(
            len(self._away), tensor.detach().cpu().numpy().copy(), tensor.device, tensor.detach(), 0.0
        )
        ticket.end = self._transfer("out", ticket)
        self.offered += ticket.copy.nbytes
        self._leaving.append(ticket)
        self._let_go(time.monotonic())
        while sum(t.copy.nbytes for t in self._leaving) > self.room:
            _sleep_until(self._leaving[0].end)
            self._let_go(time.monotonic())
        return ticket

    def get(self, ticket: _Ticket) -> torch.Tensor:
        """The tensor of a ticket; what left just before it is called back at the same time."""
        self._let_go(time.monotonic())
        self._leaving.clear()  # backward has begun: what is still here stays
        if ticket.here is None:
            while ticket.here is None:
                self._call_back(self._away.pop())
        if ticket in self._coming:
            _sleep_until(ticket.end)
            self._coming.remove(ticket)
        tensor, ticket.here = ticket.here, None
        while self._away and sum(t.copy.nbytes for t in self._coming) < self.room:
            self._call_back(self._away.pop())
        return tensor

    def _transfer(self, way: str, ticket: _Ticket) -> float:
        """Use the link one way; return when that is over."""
        begin = max(time.monotonic(), self._free[way])
        self._free[way] = begin + ticket.copy.nbytes / self.bandwidth
        return self._free[way]

    def _let_go(self, now: float) -> None:
        """Free what has left."""
        while self._leaving and self._leaving[0].end <= now:
            ticket = self._leaving.popleft()
            ticket.here = None
            self.moved += ticket.copy.nbytes
            self._away.append(ticket)

    def _call_back(self, ticket: _Ticket) -> None:
        ticket.here = torch.from_numpy(ticket.copy).to(ticket.device, copy=True)
        ticket.end = self._transfer("back", ticket)
        self._coming.append(ticket)


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@dataclass(frozen=True)
class Race:
    """Steps over links: bandwidths as shares of break-even, and times over that of a step without a link."""

    shares: tuple[float, ...]
    model: list[float]
    measured: list[float]
    memory: float  # peak with a link at break-even, over that without


def race(config: Config, batch: int, shares: tuple[float, ...], rounds: int = 3) -> Race:
    """Time steps with all saved tensors offloaded over links of several bandwidths, in turns with steps without.

    Break-even is the bandwidth at which all bytes that the hooks see leave in the time of a forward pass. The device
    has room for those of two blocks besides the block that is computed. All of this is on the CPU: beside a GPU's own
    link, a link that sleeps would not be the only one.
    """
    model = Transformer(config)
    tokens, targets = text_batch(0, batch, config.length)
    probe = Link(float("inf"))
    step(model, tokens, targets, probe)
    each = probe.offered / config.blocks

    def timed(bandwidth: float | None) -> tuple[float, float]:
        link = Link(bandwidth, 3 * each) if bandwidth else None
        seconds = step(model, tokens, targets, link)[:2]
        for parameter in model.parameters():
            parameter.grad = None
        return seconds

    even = probe.offered / np.median([timed(None)[0] for _ in range(5)])
    found: dict[float, list] = {share: [] for share in (0, *shares)}  # 0: no link at all
    for _ in range(rounds):
        for share in found:
            found[share].append(timed(share * even))
    forward, backward = np.median(found[0], axis=0) / config.blocks
    bare = config.blocks * (forward + backward)
    # Tensors leave one by one, each when it exists: a block is PARTS small ones. The room is that of three blocks,
    # less the part that is computed.
    times = forward / PARTS, backward / PARTS
    ends = [
        simulate(config.blocks * PARTS, *times, each / (share * even) / PARTS, 3 * PARTS - 1).end / bare
        for share in shares
    ]
    slower = [float(np.median(np.sum(found[share], axis=1)) / bare) for share in shares]
    peaks = [max(alive(lambda b=bandwidth: timed(b), "cpu")) for bandwidth in (even, None)]
    return Race(shares, ends, slower, peaks[0] / peaks[1])


def step(
    model: Transformer, tokens: torch.Tensor, targets: torch.Tensor, link: Link | None
) -> tuple[float, float, float]:
    """A forward and a backward pass over a link, or without one: seconds of each, and the loss."""
    begin = time.perf_counter()
    if link is None:
        loss = next_token_loss(model(tokens), targets)
    else:
        with offload(link, besides=model.parameters()):
            loss = next_token_loss(model(tokens), targets)
    middle = time.perf_counter()
    loss.backward()
    return middle - begin, time.perf_counter() - middle, loss.item()
