"""Who computes what in the next step.

A step has a *budget* of rows. A sequence that decodes takes one row (more with guesses), one that reads its prompt
takes as many as are left. What differs between policies is three small decisions, each a field of `Scheduler`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from week07_inference_software.engine.blocks import BlockPool
from week07_inference_software.engine.sampling import Sampling


@dataclass(eq=False)
class Request:
    """A prompt, and how its answer is to be made. `arrival` is in the units of the engine's clock."""

    prompt: list[int]
    new: int  # tokens to write
    sampling: Sampling = field(default_factory=Sampling)
    arrival: float = 0.0
    stop: int | None = None  # a token that ends the answer early
    answers: int = 1  # so many, from seeds that follow each other; the prompt is read once

    def __post_init__(self):
        if not self.prompt or self.new < 1 or self.answers < 1:
            raise ValueError(
                "a request has a token at least, asks for one at least, and for one answer at least"
            )


@dataclass(eq=False)
class Sequence:
    """A request on its way: its tokens, how many of them are in the cache, and in which blocks."""

    request: Request
    tokens: list[int]
    sampling: Sampling
    number: int = 0  # which of the request's answers
    stored: int = 0
    table: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # when each new token was there
    preempted: int = 0
    shared: int = 0  # tokens that were found in the cache when it was first admitted

    @property
    def written(self) -> list[int]:
        """The tokens of the answer so far."""
        return self.tokens[len(self.request.prompt) :]

    @property
    def done(self) -> bool:
        """Whether the answer is whole."""
        written = len(self.tokens) - len(self.request.prompt)
        return written >= self.request.new or (written > 0 and self.tokens[-1] == self.request.stop)

    @property
    def decodes(self) -> bool:
        """Whether all but its last token is in the cache, and it has begun to write."""
        return self.stored == len(self.tokens) - 1 and len(self.tokens) > len(self.request.prompt)


def first_come(sequence: Sequence) -> tuple:
    """The order of arrival."""
    return (sequence.request.arrival,)


def shortest_first(sequence: Sequence) -> tuple:
    """The shortest job first, by what remains to be read and written; long ones may wait for ever."""
    left = sequence.request.new + len(sequence.request.prompt) - len(sequence.written)
    return (left, sequence.request.arrival)


@dataclass
class Plan:
    """One step: the tokens of each sequence's rows, and the blocks (source, target) to copy before."""

    rows: dict[Sequence, list[int]] = field(default_factory=dict)
    copies: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Scheduler:
    """Policies: `order` of those who wait; `admit` them at any time (continuous) or only when nobody runs (static);
    whether a step that reads prompts lets others decode too.
    """

    budget: int = 256  # rows of a step
    most: int = 32  # sequences that run at once
    order: Callable[[Sequence], tuple] = first_come
    admit: str = "any time"  # or "when empty": static batching
    decode_first: bool = True  # False: while prompts are read, nobody decodes
    waiting: list[Sequence] = field(default_factory=list)
    running: list[Sequence] = field(default_factory=list)

    def __post_init__(self):
        if self.admit not in ("any time", "when empty"):
            raise ValueError(f"admit is 'any time' or 'when empty', not {self.admit!r}")
        if self.budget < self.most:
            raise ValueError(
                f"budget={self.budget} rows are not enough for most={self.most} sequences that decode"
            )

    def plan(self, pool: BlockPool, guesses: Callable[[Sequence], list[int]]) -> Plan:
        """The sequences of the next step, each with the tokens of its rows. Their tables have room for them.

        A sequence that finds no block takes those of the one that was admitted last, which will read anew what it has
        written (preemption by recomputing).
        """
        plan, left = Plan(), self.budget
        reading = [s for s in self.running if not s.decodes]
        decoding = [s for s in self.running if s.decodes]
        reading += self._admit(pool)
        if reading and not self.decode_first:
            decoding = []
        for others, sequence in zip(range(len(decoding) - 1, -1, -1), decoding, strict=True):
            if sequence in self.running:  # it may have lost its blocks to one before it
                tokens = [sequence.tokens[-1], *guesses(sequence)][: max(1, left - others)]
                left -= self._add(plan, pool, sequence, tokens)
        for sequence in reading:
            if left > 0 and sequence in self.running:
                tokens = sequence.tokens[sequence.stored : sequence.stored + left]
                left -= self._add(plan, pool, sequence, tokens)
        return plan

    def _admit(self, pool: BlockPool) -> list[Sequence]:
        admitted, promised = [], 0
        may = self.admit == "any time" or not self.running
        self.waiting.sort(key=self.order)
        while may and self.waiting and len(self.running) < self.most:
            sequence = self.waiting[0]
            # At least one token must be computed: its logits are the next token's.
            found = pool.match(sequence.tokens[:-1])
            promised += pool.needed(found, len(sequence.tokens) + 1)
            if promised > pool.available:
                pool.release(found)
                break
            sequence.table, sequence.stored = found, len(found) * pool.size
            if not sequence.preempted:
                sequence.shared = sequence.stored
            admitted.append(self.waiting.pop(0))
            self.running.append(sequence)
        return admitted

    def _add(self, plan: Plan, pool: BlockPool, sequence: Sequence, tokens: list[int]) -> int:
        """Give a sequence rows for these tokens, and blocks; how many rows it got."""
        room = sequence.stored + len(tokens)
        while True:
            copies = pool.shared(sequence.table, sequence.stored)
            if pool.needed(sequence.table, room) + copies <= pool.available:
                break
            last = self.running[-1]
            self.preempt(pool, last)
            plan.rows.pop(last, None)
            if last is sequence:
                return 0
        if copies:
            plan.copies.append(pool.own(sequence.table, sequence.stored))
        pool.grow(sequence.table, room)
        plan.rows[sequence] = tokens
        return len(tokens)

    def preempt(self, pool: BlockPool, sequence: Sequence) -> None:
        """Take a running sequence's blocks; it waits again, and keeps the tokens that it has."""
        pool.release(sequence.table)
        sequence.stored, sequence.preempted = 0, sequence.preempted + 1
        self.running.remove(sequence)
        self.waiting.append(sequence)
