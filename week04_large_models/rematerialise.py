"""Rematerialisation as a game on a graph: compute a value, drop a value, and finish all gradients in a given memory.

A chain can be cut anywhere, and `plans` finds its best plan by dynamic programming. With skip connections that
argument ends: a value that crosses every cut must be kept, or computed again for its own sake. What remains is
a search over what is in memory. For a small graph the search is exact; Jain et al. (Checkmate, MLSys 2020) put
the same question to a solver of integer programs.
"""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from effdl.device import device

Action = tuple[str, int] | tuple[str, int, int]
"""("make", value), ("drop", value), or ("weigh", u, v): add to the gradient of the weights from u to v."""


@dataclass(frozen=True)
class Graph:
    """Layers y_v = tanh(sum of W_uv y_u over the inputs u); y_0 is given, half the sum of squares of y_n is the loss.

    A value is a number: v stands for y_v, n + v for d_v, the loss's derivative with respect to what goes into tanh.
    """

    widths: tuple[int, ...]  # of y_0 to y_n
    inputs: tuple[tuple[int, ...], ...]  # of layer 1, of layer 2, ...
    batch: int

    def __post_init__(self):
        if len(self.inputs) != self.n:
            raise ValueError(f"{self.n} layers need {self.n} lists of inputs, not {len(self.inputs)}")
        for v, inputs in enumerate(self.inputs, start=1):
            if not inputs or not all(0 <= u < v for u in inputs):
                raise ValueError(f"the inputs of layer {v} must be earlier layers or 0, not {inputs}")

    @property
    def n(self) -> int:
        """The number of layers."""
        return len(self.widths) - 1

    @cached_property
    def edges(self) -> list[tuple[int, int]]:
        """(u, v) for each matrix W_uv."""
        return [(u, v) for v, inputs in enumerate(self.inputs, start=1) for u in inputs]

    def layer(self, value: int) -> int:
        """The layer v of y_v or of d_v."""
        return value if value <= self.n else value - self.n

    def bytes(self, value: int) -> int:
        """Size of a value in float32."""
        return 4 * self.batch * self.widths[self.layer(value)]

    def needs(self, value: int) -> list[int]:
        """The values that must be in memory to make this one; the input is always there and not listed."""
        v = self.layer(value)
        if value == v:
            return [u for u in self.inputs[v - 1] if u]
        return [v, *(self.n + w for u, w in self.edges if u == v)]

    def flops(self, value: int) -> int:
        """Floating-point operations to make a value: its matrix products."""
        v = self.layer(value)
        edges = [edge for edge in self.edges if edge[1 if value == v else 0] == v]
        return sum(2 * self.batch * self.widths[u] * self.widths[w] for u, w in edges)

    @property
    def values(self) -> range:
        """All values but the input: y_1 to y_n, d_1 to d_n."""
        return range(1, 2 * self.n + 1)

    @property
    def once(self) -> int:
        """FLOPs of making each value once."""
        return sum(self.flops(value) for value in self.values)


def u_net(batch: int = 256) -> Graph:
    """Seven layers, narrow in the middle, with a skip connection from each of the first to one of the last."""
    widths = (64, 256, 192, 128, 64, 128, 192, 256)
    return Graph(widths, ((0,), (1,), (2,), (3,), (4, 3), (5, 2), (6, 1)), batch)


# ---------------------------------------------------------------------------------------------------------------
# The exact answer
# ---------------------------------------------------------------------------------------------------------------


class _Game:
    """The graph as bit masks: what is in memory, and which weights have their gradient."""

    def __init__(self, graph: Graph, limit: int):
        self.graph, self.limit = graph, limit
        self.bytes = {value: graph.bytes(value) for value in graph.values}
        self.flops = {value: graph.flops(value) for value in graph.values}
        self.needs = {value: _mask(graph.needs(value)) for value in graph.values}
        # The gradient of W_uv needs y_u and d_v.
        self.weigh = [_mask([u, graph.n + v] if u else [graph.n + v]) for u, v in graph.edges]

    def weighed(self, alive: int, done: int) -> int:
        """`done`, with the gradients that can be had at no price: their values are here."""
        for edge, mask in enumerate(self.weigh):
            if alive & mask == mask:
                done |= 1 << edge
        return done

    def least(self, alive: int, done: int) -> int:
        """FLOPs that must still be spent: each missing gradient needs its values, which need theirs."""
        wanted = 0
        for edge, mask in enumerate(self.weigh):
            if not done >> edge & 1:
                wanted |= mask
        total = 0
        n = self.graph.n
        # A value stands before those that it needs: d_1 to d_n, then y_n to y_1.
        for value in (*range(n + 1, 2 * n + 1), *range(n, 0, -1)):
            if wanted >> value & 1 and not alive >> value & 1:
                total += self.flops[value]
                wanted |= self.needs[value]
        return total

    def moves(self, alive: int) -> Iterator[tuple[int, int]]:
        """(value to make, values to drop before it): nothing is dropped that need not be dropped."""
        held = [value for value in self.graph.values if alive >> value & 1]
        free = self.limit - sum(self.bytes[value] for value in held)
        for value in self.graph.values:
            if alive >> value & 1 or self.needs[value] & ~alive:
                continue
            missing = self.bytes[value] - free
            others = [other for other in held if not self.needs[value] >> other & 1]
            for drop in self.smallest(others, missing):
                yield value, _mask(drop)

    def smallest(self, others: list[int], missing: int) -> Iterator[tuple[int, ...]]:
        """The sets of values that free `missing` bytes and of which none could stay."""
        if missing <= 0:
            yield ()
            return
        for count in range(1, len(others) + 1):
            for drop in itertools.combinations(others, count):
                freed = sum(self.bytes[value] for value in drop)
                if freed >= missing > freed - min(self.bytes[value] for value in drop):
                    yield drop


def _mask(values: list[int] | tuple[int, ...]) -> int:
    return sum(1 << value for value in values)


def optimal(graph: Graph, limit: int) -> list[Action]:
    """The actions with the fewest FLOPs that never hold more than `limit` bytes of values; [] if there are none.

    A* search over (what is in memory, which gradients are done). Dropping late is never worse than dropping early,
    so a value is dropped only when room is needed for another; and a gradient is taken as soon as it can be had.
    """
    game = _Game(graph, limit)
    goal = (1 << len(graph.edges)) - 1
    start = (0, 0)
    spent, came = {start: 0}, {}
    queue = [(game.least(*start), start)]
    while queue:
        estimate, state = heapq.heappop(queue)
        alive, done = state
        if done == goal:
            return _program(game, came, state)
        if estimate > spent[state] + game.least(alive, done):
            continue  # a cheaper way here was found after this entry was made
        for value, drop in game.moves(alive):
            after = alive & ~drop | 1 << value
            then = (after, game.weighed(after, done))
            cost = spent[state] + game.flops[value]
            if cost < spent.get(then, cost + 1):
                spent[then], came[then] = cost, (state, value, drop)
                heapq.heappush(queue, (cost + game.least(*then), then))
    return []


def _program(game: _Game, came: dict, state: tuple[int, int]) -> list[Action]:
    """The actions that led to a state."""
    steps = []
    while state in came:
        before, value, drop = came[state]
        fresh = state[1] & ~before[1]
        weighed = [("weigh", *edge) for bit, edge in enumerate(game.graph.edges) if fresh >> bit & 1]
        drops = [("drop", other) for other in game.graph.values if drop >> other & 1]
        steps.append([*drops, ("make", value), *weighed])
        state = before
    return [action for actions in reversed(steps) for action in actions]


# ---------------------------------------------------------------------------------------------------------------
# What one can do without a search
# ---------------------------------------------------------------------------------------------------------------


def greedy(graph: Graph, limit: int) -> list[Action]:
    """The usual order, with an eviction whenever memory is full, and values made again when needed; [] if it fails.

    Evicted is the value with the least FLOPs per byte and per time since its last use: Kirisame et al., Dynamic
    tensor rematerialization, ICLR 2021, with the cost of the value alone.
    """
    actions: list[Action] = []
    used: dict[int, int] = {}  # what is in memory, and when it was last used
    order = [*range(1, graph.n + 1), *range(2 * graph.n, graph.n, -1)]

    def make(value: int, pinned: frozenset[int]) -> bool:
        if value in used:
            used[value] = len(actions)
            return True
        pinned = pinned | {value}
        for need in graph.needs(value):
            if not make(need, pinned):
                return False
            pinned = pinned | {need}
        while sum(map(graph.bytes, used)) + graph.bytes(value) > limit:
            others = [other for other in used if other not in pinned]
            if not others:
                return False
            victim = min(others, key=lambda v: graph.flops(v) / graph.bytes(v) / (1 + len(actions) - used[v]))
            del used[victim]
            actions.append(("drop", victim))
        actions.append(("make", value))
        used[value] = len(actions)
        return True

    for value in order:
        if not make(value, frozenset()):
            return []
        for u in graph.inputs[value - graph.n - 1] if value > graph.n else ():
            if u and not make(u, frozenset({value})):
                return []
            actions.append(("weigh", u, value - graph.n))
    return actions


def spent(graph: Graph, actions: list[Action]) -> int:
    """FLOPs of the values that a program makes."""
    return sum(graph.flops(action[1]) for action in actions if action[0] == "make")


def held(graph: Graph, actions: list[Action]) -> list[int]:
    """Bytes of values in memory after each action that makes or drops one."""
    sizes = [0]
    for kind, value, *_ in actions:
        if kind != "weigh":
            sizes.append(sizes[-1] + graph.bytes(value) * (1 if kind == "make" else -1))
    return sizes


def again(graph: Graph, actions: list[Action]) -> float | None:
    """FLOPs made for a second or later time, over those of making each value once; None for no program."""
    return spent(graph, actions) / graph.once - 1 if actions else None


# ---------------------------------------------------------------------------------------------------------------
# A program executed
# ---------------------------------------------------------------------------------------------------------------

Weights = dict[tuple[int, int], torch.Tensor]


def weights(graph: Graph, seed: int = 0) -> Weights:
    """A matrix (width of v, width of u) for each edge, with a gradient of zeros."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for u, v in graph.edges:
        size = (graph.widths[v], graph.widths[u])
        matrix = torch.randn(size, generator=generator) / graph.widths[u] ** 0.5
        found[u, v] = matrix.to(device()).requires_grad_()
        found[u, v].grad = torch.zeros_like(found[u, v])
    return found


@torch.no_grad()
def run(graph: Graph, weights: Weights, x: torch.Tensor, actions: list[Action]) -> None:
    """Execute a program on x (batch, width of y_0): the gradients of all weights are in their `.grad` afterwards.

    Raises KeyError where a program uses what is not in memory.
    """
    values = {0: x}
    for kind, value, *target in actions:
        if kind == "drop":
            del values[value]
        elif kind == "weigh":
            v = target[0]
            weights[value, v].grad.addmm_(values[graph.n + v].T, values[value])
        elif value <= graph.n:
            values[value] = _combined([(values[u], weights[u, value].T) for u in graph.inputs[value - 1]])
            values[value].tanh_()
        else:
            values[value] = _derivative(graph, weights, values, value - graph.n)


def _combined(products: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The sum of matrix products, in the memory of one."""
    total = products[0][0] @ products[0][1]
    for left, right in products[1:]:
        total.addmm_(left, right)
    return total


def _derivative(graph: Graph, weights: Weights, values: dict[int, torch.Tensor], v: int) -> torch.Tensor:
    """d_v, from the derivatives of those who use y_v, or from the loss."""
    y = values[v]
    users = [(values[graph.n + w], weights[u, w]) for u, w in graph.edges if u == v]
    total = _combined(users) if users else torch.zeros_like(y)
    if v == graph.n:
        total += y
    # (1 - y²) times the derivative with respect to y_v, written over it.
    return torch.ops.aten.tanh_backward.grad_input(total, y, grad_input=total)
