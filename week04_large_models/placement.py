"""Device placement as a search: which device runs which operation, so that a step ends first?

Mirhoseini et al., Device placement optimization with reinforcement learning, ICML 2017. Theirs measures placements
on real devices and draws it from a recurrent network; here a simulator gives the time and each operation has its own
distribution over the devices.
"""

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Operation:
    """A node of a graph. A graph is a list of them in which inputs stand before those who need them."""

    name: str
    seconds: float  # on any device
    output: float  # bytes
    memory: float  # bytes that it needs on its device for the whole step, such as weights
    inputs: tuple[int, ...] = ()
    group: int = 0  # what belongs together in a reader's eyes, such as all cells of a layer


@dataclass(frozen=True)
class Machine:
    """Equal devices, each with a link to each: a message of m bytes takes latency + m / bandwidth seconds."""

    devices: int
    memory: float = float("inf")  # bytes of one device
    latency: float = 0.0
    bandwidth: float = float("inf")  # bytes per second


Graph = list[Operation]


def recurrent(layers: int, steps: int, seconds: float, output: float, memory: float) -> Graph:
    """A recurrent network unrolled in time: cell (layer, step) needs the layer below and the step before.

    `seconds` and `output` are those of a cell; the cells of a layer share its weights, of `memory` bytes, so that
    each cell counts for memory / steps. The last layer's outputs go into one loss. A layer is a group.
    """
    graph = []
    for step, layer in itertools.product(range(steps), range(layers)):
        below = [len(graph) - 1] if layer else []
        before = [len(graph) - layers] if step else []
        name = f"{layer},{step}"
        graph.append(Operation(name, seconds, output, memory / steps, tuple(below + before), layer))
    tops = tuple(range(layers - 1, len(graph), layers))
    return [*graph, Operation("loss", seconds, 0.0, 0.0, tops, layers - 1)]


def simulate(graph: Graph, placements: np.ndarray, machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """When each operation starts and ends, for many placements at once; both (placements, operations).

    `placements` is (placements, operations), int: the device of each operation. A device runs its operations in the
    order of the graph, each as soon as its inputs are there. Messages do not wait for each other.
    """
    many = np.arange(len(placements))
    free = np.zeros((len(placements), machine.devices))
    start, end = np.zeros((2, *placements.shape))
    for number, operation in enumerate(graph):
        device = placements[:, number]
        ready = free[many, device]
        for source in operation.inputs:
            transfer = machine.latency + graph[source].output / machine.bandwidth
            ready = np.maximum(ready, end[:, source] + transfer * (placements[:, source] != device))
        start[:, number] = ready
        end[:, number] = free[many, device] = ready + operation.seconds
    return start, end


def step_times(graph: Graph, placements: np.ndarray, machine: Machine) -> np.ndarray:
    """Seconds of a step for each of (placements, operations); infinite where a device's memory does not suffice."""
    _, end = simulate(graph, placements, machine)
    needs = np.array([operation.memory for operation in graph])
    used = np.stack([(placements == device) @ needs for device in range(machine.devices)])
    # Sums of a hundred terms round; a part in a million does not decide what fits.
    return np.where((used <= machine.memory * (1 + 1e-6)).all(0), end.max(1), np.inf)


@dataclass
class Found:
    """What a search found: the best placement, its seconds, and the best so far after so many placements tried."""

    placement: np.ndarray
    seconds: float
    curve: list[tuple[int, float]]


class _Best:
    """Keeps the best of all placements that a search asks for."""

    def __init__(self, graph: Graph, machine: Machine):
        self.graph, self.machine, self.tried = graph, machine, 0
        self.found = Found(np.zeros(len(graph), int), np.inf, [])

    def times(self, placements: np.ndarray) -> np.ndarray:
        seconds = step_times(self.graph, placements, self.machine)
        self.tried += len(placements)
        best = int(seconds.argmin())
        if seconds[best] < self.found.seconds:
            self.found.placement, self.found.seconds = placements[best].copy(), float(seconds[best])
        self.found.curve.append((self.tried, self.found.seconds))
        return seconds


def exhaustive(graph: Graph, machine: Machine, by_group: bool = False, at_once: int = 1 << 17) -> Found:
    """The optimum, by trying every placement, or every one that keeps each group on one device.

    Devices are equal, so the first operation stays on device 0. Raises ValueError for over ten million placements.
    """
    units = np.array([op.group for op in graph]) if by_group else np.arange(len(graph))
    powers = machine.devices ** (units.max() - units)
    count = machine.devices ** int(units.max())
    if count > 10_000_000:
        raise ValueError(f"{count:,} placements are too many to try each; use a smaller graph")
    best = _Best(graph, machine)
    for first in range(0, count, at_once):
        numbers = np.arange(first, min(count, first + at_once))
        best.times(numbers[:, None] // powers % machine.devices)
    return best.found


def random_search(graph: Graph, machine: Machine, budget: int, seed: int = 0) -> Found:
    """The best of `budget` placements drawn evenly."""
    rng, best = np.random.default_rng(seed), _Best(graph, machine)
    while best.tried < budget:
        best.times(rng.integers(machine.devices, size=(min(100, budget - best.tried), len(graph))))
    return best.found


def greedy(graph: Graph, machine: Machine) -> Found:
    """One operation after the other goes where it ends first, of those devices that have room for it.

    This is list scheduling by earliest finish time (Topcuoglu, Hariri & Wu, HEFT, 2002, with the graph's own order).
    """
    best, placement = _Best(graph, machine), np.zeros(len(graph), int)
    left = np.full(machine.devices, machine.memory)
    for number, operation in enumerate(graph):
        tries = np.tile(placement[: number + 1], (machine.devices, 1))
        tries[:, number] = np.arange(machine.devices)
        _, end = simulate(graph[: number + 1], tries, machine)
        room = left * (1 + 1e-6) >= operation.memory
        placement[number] = np.where(room, end[:, number], np.inf).argmin()
        left[placement[number]] -= operation.memory
    best.times(placement[None])
    return best.found


def local_search(graph: Graph, machine: Machine, budget: int, seed: int = 0) -> Found:
    """From a random placement always to the best that differs in one operation; at a dead end from a new one."""
    rng, best = np.random.default_rng(seed), _Best(graph, machine)
    # On one device, a shift by one stays where it is.
    moves = itertools.product(range(len(graph)), range(1, max(2, machine.devices)))
    numbers, shifts = np.array(list(moves)).T
    here = None
    while best.tried < budget:
        if here is None:
            here = rng.integers(machine.devices, size=len(graph))
            seconds = best.times(here[None])[0]
        around = np.tile(here, (len(numbers), 1))
        around[np.arange(len(numbers)), numbers] += shifts
        around %= machine.devices
        times = best.times(around)
        better = times.min() < seconds
        here, seconds = (around[times.argmin()], times.min()) if better else (None, np.inf)
    return best.found


def reinforce(
    graph: Graph, machine: Machine, budget: int, seed: int = 0, rate: float = 1.0, batch: int = 32
) -> Found:
    """REINFORCE (Williams 1992): draw placements, make those likelier that were faster than their batch's mean.

    Each operation has a softmax over the devices, with the logits as the only parameters. The reward of a placement
    is minus the square root of its seconds, in units of a step on one device. What does not fit counts as 4 of them.
    """
    rng, best = np.random.default_rng(seed), _Best(graph, machine)
    alone = sum(operation.seconds for operation in graph)
    logits = np.zeros((len(graph), machine.devices))
    while best.tried < budget:
        chances = np.exp(logits - logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        draws = rng.random((batch, len(graph), 1))
        placements = np.minimum((draws > chances.cumsum(1)).sum(2), machine.devices - 1)
        reward = -np.sqrt(np.minimum(best.times(placements) / alone, 4))
        advantage = reward - reward.mean()
        # The gradient of log softmax at the chosen device: one for it, minus the chances of all.
        gradient = np.eye(machine.devices)[placements] - chances
        logits += rate * np.tensordot(advantage, gradient, 1) / (advantage.std() + 1e-9) / batch
    return best.found


def bound(graph: Graph, machine: Machine) -> float:
    """Seconds that no placement can beat: all work shared evenly, or the longest path without any transfer."""
    longest: list[float] = []
    for operation in graph:
        longest.append(operation.seconds + max((longest[i] for i in operation.inputs), default=0.0))
    return max(max(longest), sum(operation.seconds for operation in graph) / machine.devices)
