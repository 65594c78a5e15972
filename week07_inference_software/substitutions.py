"""Substitutions that nobody wrote: enumerate expressions, propose pairs by fingerprint, prove them, search with them.

After TASO (Jia et al., SOSP 2019), in small. Operators are those of :mod:`.expressions`. TASO asks a theorem prover
with a list of axioms; here two normal forms are compared.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from week07_inference_software.expressions import (
    BINARY,
    COMMUTE,
    PRIME,
    UNARY,
    Expression,
    IllTyped,
    Type,
    evaluate,
    fingerprint,
    inputs,
    normal_form,
    random_inputs,
    residues,
    size,
    text,
    type_of,
    typed,
)

Pair = tuple[Expression, Expression]
SQUARE: Type = (("n",), ("n",))
LARGEST = 4
"""Pieces that an enumerated matrix may be put together from, rows and columns added."""


def enumerate_expressions(names: Sequence[str], operators: int) -> list[Expression]:
    """All expressions with at most so many operators over square inputs, smaller ones first.

    Of ``a + b`` and ``b + a`` one is there, and of the element-wise product likewise.
    """
    levels: list[dict[Expression, Type]] = [dict.fromkeys(names, SQUARE)]
    for count in range(1, operators + 1):
        level: dict[Expression, Type] = {}
        for expression, operand_types in _joined(levels, count):
            try:
                found = typed(expression[0], *operand_types)
            except IllTyped:
                continue
            if sum(map(len, found)) <= LARGEST:
                level[expression] = found
        levels.append(level)
    return [expression for level in levels for expression in level]


def _joined(levels: list[dict[Expression, Type]], count: int) -> Iterator[tuple[Expression, list[Type]]]:
    """Each operator on operands that have ``count`` - 1 operators together."""
    for operand, its_type in levels[count - 1].items():
        for operator in UNARY:
            yield (operator, operand), [its_type]
    for left in range(count):
        for (a, type_a), (b, type_b) in itertools.product(
            levels[left].items(), levels[count - 1 - left].items()
        ):
            for operator in BINARY:
                if operator not in COMMUTE or repr(a) <= repr(b):
                    yield (operator, a, b), [type_a, type_b]


def proposals(
    expressions: Iterable[Expression], values: Mapping[str, np.ndarray], prime: int = PRIME
) -> list[Pair]:
    """Pairs with one fingerprint on these inputs: (the first expression that has it, a later one).

    The expressions must come with their parts before them, as :func:`enumerate_expressions` orders them.
    """
    known: dict[Expression, np.ndarray] = {}
    first: dict[Any, Expression] = {}
    pairs, operators = [], residues(prime)
    for expression in expressions:
        if isinstance(expression, str):
            value = values[expression] % prime
        else:
            value = operators[expression[0]](*(known[part] for part in expression[1:]))
        known[expression] = value
        earlier = first.setdefault(fingerprint(value), expression)
        if earlier != expression:
            pairs.append((earlier, expression))
    return pairs


@dataclass(frozen=True)
class Verdicts:
    """What became of the pairs that a fingerprint proposed."""

    proven: list[Pair]
    """For all sizes, all numbers and every f."""
    refuted: list[Pair]
    """Values on another, larger input differ."""
    open: list[Pair]
    """Neither: no proof, and no input was found that refutes it."""


def judge(pairs: Iterable[Pair], names: Sequence[str], side: int = 3) -> Verdicts:
    """Prove each pair, or else refute it by square inputs of ``side`` rows."""
    verdicts, known = Verdicts([], [], []), {}
    values, operators = random_inputs(names, side, PRIME, seed=1), residues(PRIME)
    for a, b in pairs:
        if normal_form(a, known) == normal_form(b, known):
            verdicts.proven.append((a, b))
        elif not np.array_equal(evaluate(a, values, operators), evaluate(b, values, operators)):
            verdicts.refuted.append((a, b))
        else:
            verdicts.open.append((a, b))
    return verdicts


# ---- from equal pairs to a short list of rules


def replaced(expression: Expression, names: Mapping[str, Expression]) -> Expression:
    """The expression with something in the place of each input."""
    if isinstance(expression, str):
        return names[expression]
    return (expression[0], *(replaced(e, names) for e in expression[1:]))


def renamed(pair: Pair) -> Pair:
    """The same rule with its inputs called A, B, C in the order in which they stand there."""
    names = dict(zip(inputs(("", *pair)), "ABCDEFGH", strict=False))
    return replaced(pair[0], names), replaced(pair[1], names)


def matched(pattern: Expression, expression: Expression, found: dict[str, Expression]) -> bool:
    """Whether an expression has the pattern's form; ``found`` then says what each of its inputs stands for."""
    if isinstance(pattern, str):
        return found.setdefault(pattern, expression) == expression
    return (
        not isinstance(expression, str)
        and pattern[0] == expression[0]
        and all(matched(p, e, found) for p, e in zip(pattern[1:], expression[1:], strict=True))
    )


def rewrites(expression: Expression, rules: Sequence[Pair]) -> Iterator[Expression]:
    """What one use of one rule, at any place and in either direction, makes of an expression."""
    for pair in rules:
        for old, new in (pair, pair[::-1]):
            found: dict[str, Expression] = {}
            if (
                not isinstance(old, str)
                and matched(old, expression, found)
                and found.keys() >= set(inputs(new))
            ):
                yield replaced(new, found)
    if not isinstance(expression, str):
        for place, part in enumerate(expression[1:], start=1):
            for new in rewrites(part, rules):
                yield (*expression[:place], new, *expression[place + 1 :])


def shortest_rules(pairs: Iterable[Pair], steps: int = 2) -> list[Pair]:
    """The rules that do not follow from earlier ones in a few steps. The most general of each size come first."""
    rules = list(COMMUTATIVE)
    pairs = dict.fromkeys(map(renamed, pairs))
    order = sorted(pairs, key=lambda pair: (size(pair[0]) + size(pair[1]), -len(inputs(pair[1]))))
    for pair in order:
        if not _follows(pair, rules, steps):
            rules.append(pair)
    return rules


COMMUTATIVE: list[Pair] = [((operator, "A", "B"), (operator, "B", "A")) for operator in COMMUTE]


def _follows(pair: Pair, rules: Sequence[Pair], steps: int) -> bool:
    """Whether the two sides meet after ``steps`` uses of rules on each."""
    reached = []
    for side in pair:
        seen = edge = {side}
        for _ in range(steps):
            edge = {new for old in edge for new in rewrites(old, rules)} - seen
            seen = seen | edge
        reached.append(seen)
    return not reached[0].isdisjoint(reached[1])


# ---- a graph with sizes, its cost, and the search


@dataclass(frozen=True)
class Graph:
    """An expression with the sizes of its inputs. Parts of constants alone are computed once, when it is loaded."""

    expression: Expression
    types: Mapping[str, Type]
    sizes: Mapping[str, int]
    """Rows or columns for each name in a type."""
    constants: frozenset[str]
    """Inputs that do not change between calls: the weights."""

    def constant(self, part: Expression) -> bool:
        """Whether a part is known before the first call."""
        return self.constants.issuperset(inputs(part))

    def shape(self, part: Expression) -> tuple[int, int]:
        """Rows and columns of a part. Raises IllTyped."""
        rows, columns = type_of(part, self.types)
        return sum(self.sizes[name] for name in rows), sum(self.sizes[name] for name in columns)

    def work(self) -> list[Expression]:
        """The operations that each call has to do; one that stands there twice is done once."""
        done: dict[Expression, None] = {}

        def visit(part: Expression) -> None:
            if not isinstance(part, str) and not self.constant(part):
                for operand in part[1:]:
                    visit(operand)
                done[part] = None

        visit(self.expression)
        return list(done)


CALL, RATE, BANDWIDTH = 3e-6, 50e9, 20e9
"""A rough CPU core: seconds to call an operation, floating-point operations and bytes per second."""


def seconds(graph: Graph, part: Expression) -> float:
    """What one operation would take on the rough core: the call, and the slower of its work and its bytes."""
    operator, *operands = part
    rows, columns = graph.shape(part)
    if operator == "transpose":
        return CALL
    inner = graph.shape(operands[0])[1] if operator == "matmul" else 1
    flops = rows * columns * (2 * inner if operator == "matmul" else operator not in ("beside", "above"))
    moved = 4 * (rows * columns + sum(a * b for a, b in map(graph.shape, operands)))
    return CALL + max(flops / RATE, moved / BANDWIDTH)


def cost(graph: Graph) -> float:
    """Estimated seconds of a call."""
    return sum(seconds(graph, part) for part in graph.work())


@dataclass
class Found:
    """The best graph of a search, and how far it had to look."""

    graph: Graph
    cost: float
    looked_at: int = 0
    trail: list[float] = field(default_factory=list)
    """The lowest cost at the start, and after each graph that was looked at."""


def search(graph: Graph, rules: Sequence[Pair], patience: float = 1.5, most: int = 400) -> Found:
    """The cheapest graph that rules lead to: always go on from the cheapest one that was not looked at yet.

    A graph that costs more than ``patience`` times the cheapest so far is left out; with 1 only steps that cost
    nothing are taken. ``most`` graphs are looked at. Each new graph is proven equal to the first one, so that a
    wrong rule cannot slip in.
    """
    best, count = Found(graph, cost(graph), trail=[cost(graph)]), itertools.count()
    start = normal_form(graph.expression)
    seen, queue = {graph.expression}, [(best.cost, next(count), graph)]
    while queue and best.looked_at < most:
        price, _, here = heapq.heappop(queue)
        if price > patience * best.cost:
            break
        best.looked_at += 1
        for expression in rewrites(here.expression, rules):
            if expression in seen:
                continue
            seen.add(expression)
            new = Graph(expression, graph.types, graph.sizes, graph.constants)
            try:
                price = cost(new)
            except IllTyped:
                continue
            if price > patience * best.cost:
                continue
            if (
                type_of(expression, graph.types) != type_of(graph.expression, graph.types)
                or normal_form(expression) != start
            ):
                raise ValueError(f"a rule is wrong: {text(expression)} is not {text(graph.expression)}")
            if price < best.cost:
                best.graph, best.cost = new, price
            heapq.heappush(queue, (price, next(count), new))
        best.trail.append(best.cost)
    return best


def tensors(f: Callable[[Tensor], Tensor] = torch.relu) -> dict[str, Callable[..., Tensor]]:
    """What each operator does with tensors."""
    return {
        "matmul": torch.matmul,
        "add": torch.add,
        "times": torch.mul,
        "transpose": Tensor.t,
        "f": f,
        "beside": lambda a, b: torch.cat([a, b], 1),
        "above": lambda a, b: torch.cat([a, b], 0),
    }


def runnable(graph: Graph, values: Mapping[str, Tensor], f: Callable[[Tensor], Tensor] = torch.relu):
    """The graph as a function of its variable inputs, by name, with all constant parts computed now.

    ``values`` holds at least the constants.
    """
    operators = tensors(f)
    steps: list[tuple[Callable[..., Tensor], list[int], int]] = []
    places: dict[Expression, int] = {}
    slots: list[Tensor | None] = []
    variables: dict[str, int] = {}

    def place(part: Expression) -> int:
        if part not in places:
            if graph.constant(part):
                value = evaluate(part, values, operators).contiguous()
            else:
                value = None
                operands = [] if isinstance(part, str) else [place(operand) for operand in part[1:]]
            places[part] = len(slots)
            slots.append(value)
            if isinstance(part, str) and value is None:
                variables[part] = places[part]
            elif value is None:
                steps.append((operators[part[0]], operands, places[part]))
        return places[part]

    result = place(graph.expression)

    def run(**given: Tensor) -> Tensor:
        now = slots.copy()
        for name, number in variables.items():
            now[number] = given[name]
        for operation, operands, number in steps:
            now[number] = operation(*(now[n] for n in operands))
        return now[result]

    return run


def adapters(batch: int, width: int = 256, rank: int = 8) -> Graph:
    """Queries, keys and values of an attention layer whose queries and values have low-rank adapters (LoRA).

    Input X is (batch, width); weights Wq, Wk, Wv are square, adapters Aq, Bq, Av, Bv have ``rank`` columns or rows.
    """
    types: dict[str, Type] = {"X": (("batch",), ("width",))}
    products: list[Expression] = []
    for out in "qkv":
        types[f"W{out}"] = ("width",), (out,)
        product: Expression = ("matmul", "X", f"W{out}")
        if out != "k":
            types[f"A{out}"], types[f"B{out}"] = (("width",), ("rank",)), (("rank",), (out,))
            product = ("add", product, ("matmul", ("matmul", "X", f"A{out}"), f"B{out}"))
        products.append(product)
    sizes = {"batch": batch, "width": width, "rank": rank, "q": width, "k": width, "v": width}
    expression = ("beside", ("beside", products[0], products[1]), products[2])
    return Graph(expression, types, sizes, frozenset(types) - {"X"})


def low_rank(batch: int, width: int = 256, rank: int = 8) -> Graph:
    """A product with two thin matrices, X A B, as a compressed layer has it."""
    graph = adapters(batch, width, rank)
    return Graph(("matmul", ("matmul", "X", "Aq"), "Bq"), graph.types, graph.sizes, graph.constants)


class AsModule(torch.nn.Module):
    """A graph with one variable input as a module, to be exported."""

    def __init__(self, graph: Graph, values: Mapping[str, Tensor]):
        super().__init__()
        self.graph = graph
        for name in graph.constants:
            self.register_buffer(name, values[name])
        (self.variable,) = graph.types.keys() - graph.constants

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the expression as it is written, on the variable input."""
        return evaluate(self.graph.expression, {**dict(self.named_buffers()), self.variable: x}, tensors())


def random_values(graph: Graph, seed: int = 0) -> dict[str, Tensor]:
    """A float32 tensor for each input, scaled so that products keep their size."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(graph.shape(name), generator=generator) / graph.shape(name)[0] ** 0.5
        for name in graph.types
    }
