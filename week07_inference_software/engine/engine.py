"""The loop: ask the scheduler, run the model once, draw tokens, give blocks back."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from week07_inference_software.engine.blocks import BlockPool
from week07_inference_software.engine.drafts import Draft
from week07_inference_software.engine.kernels import Invariant, Usual
from week07_inference_software.engine.model import BLOCK, Cache, Llama, Rows
from week07_inference_software.engine.sampling import draw
from week07_inference_software.engine.scheduler import Request, Scheduler, Sequence


class WallClock:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    def now(self) -> float:
        """The time."""
        return time.perf_counter() - self.start

    def tick(self, rows: int) -> None:
        """A step with so many rows is over."""

    def wait(self, until: float) -> None:
        """Nothing is to be done before."""
        time.sleep(max(0.0, until - self.now()))


class StepClock:
    """A clock of which a step takes `step` + `row` for each row: what it says can be repeated exactly."""

    def __init__(self, step: float = 1.0, row: float = 0.0):
        self.time, self.step, self.row = 0.0, step, row

    def now(self) -> float:
        """The time."""
        return self.time

    def tick(self, rows: int) -> None:
        """A step with so many rows is over."""
        self.time += self.step + self.row * rows

    def wait(self, until: float) -> None:
        """Nothing is to be done before."""
        self.time = max(self.time, until)


@dataclass(frozen=True)
class Step:
    """What happened in one step."""

    time: float  # when it was over
    rows: int
    sequences: int
    unused: int  # the most tokens that a running sequence's blocks have room for beyond what it stored


@dataclass
class Report:
    """The finished sequences, in the order of their requests, and the steps."""

    sequences: list[Sequence]
    steps: list[Step]

    @property
    def answers(self) -> list[list[int]]:
        """The written tokens of each sequence."""
        return [sequence.written for sequence in self.sequences]

    @property
    def tokens(self) -> int:
        """How many tokens were written."""
        return sum(map(len, self.answers))

    def first_token(self) -> np.ndarray:
        """TTFT: from arrival to the first token, of each sequence."""
        return np.array([s.times[0] - s.request.arrival for s in self.sequences])

    def gaps(self) -> list[np.ndarray]:
        """The times between a sequence's tokens; their mean is its TPOT."""
        return [np.diff(s.times) for s in self.sequences]


class Engine:
    """Serves requests with one model.

    Args:
        model: the weights.
        blocks: blocks of the cache, BLOCK tokens each, one of them scratch.
        kernels: `Usual()` or `Invariant()`.
        scheduler: who goes first; by default continuous batching, first come, first served.
        draft: guesses tokens (see `drafts`), `guesses` of them at most in a step.
        keep: whether prompts with the same beginning share its blocks.
        clock: a `WallClock` or a `StepClock`.
        watch: is called with each sequence and the logits (vocabulary,) of each token that it draws.
    """

    def __init__(
        self,
        model: Llama,
        blocks: int = 512,
        kernels: Usual | Invariant | None = None,
        scheduler: Scheduler | None = None,
        draft: Draft | None = None,
        guesses: int = 4,
        keep: bool = True,
        clock: WallClock | StepClock | None = None,
        watch: Callable[[Sequence, torch.Tensor], None] | None = None,
    ):
        self.model, self.kernels = model, kernels or Usual()
        self.pool, self.cache = BlockPool(blocks, BLOCK, keep), Cache(model.config, blocks, model.dtype)
        self.scheduler = scheduler or Scheduler()
        self.draft, self.guesses = draft, guesses
        self.clock, self.watch = clock or WallClock(), watch
        self.finished: list[Sequence] = []
        self.steps: list[Step] = []

    def submit(self, request: Request) -> None:
        """Let a request wait. Raises ValueError where the cache could not hold it even alone."""
        longest = len(request.prompt) + request.new + (self.guesses if self.draft else 0)
        if self.pool.needed([], longest) > self.pool.blocks - 1 - (request.answers > 1):
            raise ValueError(
                f"a request of {len(request.prompt)} + {request.new} tokens does not fit into {self.pool.blocks - 1} "
                f"blocks of {BLOCK}; give the engine more blocks"
            )
        self.scheduler.waiting.append(Sequence(request, list(request.prompt), request.sampling))

    def run(self, requests: Iterable[Request]) -> Report:
        """Serve requests as they arrive, until all are answered."""
        coming = sorted(requests, key=lambda request: request.arrival)
        order = {id(request): place for place, request in enumerate(coming)}
        while coming or self.scheduler.waiting or self.scheduler.running:
            if coming and not (self.scheduler.waiting or self.scheduler.running):
                self.clock.wait(coming[0].arrival)
            while coming and coming[0].arrival <= self.clock.now():
                self.submit(coming.pop(0))
            self.step()
        finished, self.finished = self.finished, []
        steps, self.steps = self.steps, []
        return Report(sorted(finished, key=lambda s: (order.get(id(s.request), -1), s.number)), steps)

    def step(self) -> None:
        """One forward pass for all who take part in it."""
        plan = self.scheduler.plan(self.pool, self._guess)
        for source, target in plan.copies:
            self.cache.copy(source, target)
        if not plan.rows:
            return
        # Those with equally many rows stand together: the usual kernels put them into one call.
        parts = sorted(plan.rows.items(), key=lambda part: len(part[1]))
        rows = Rows.of((tokens, sequence.stored, sequence.table) for sequence, tokens in parts)
        hidden = self.model.forward(rows, self.cache, self.kernels)

        wanted: list[int] = []  # rows whose next token is not known yet
        ends, start = [], 0
        for sequence, tokens in parts:
            first = max(0, len(sequence.tokens) - 1 - sequence.stored)
            wanted.extend(range(start + first, start + len(tokens)))
            ends.append(len(wanted))
            start += len(tokens)
        logits = self.model.logits(hidden[wanted], self.kernels)
        likeliest = logits.argmax(-1).tolist()

        self.clock.tick(start)
        begin, unused = 0, 0
        for (sequence, tokens), end in zip(parts, ends, strict=True):
            if begin < end:
                self._write(sequence, tokens, logits[begin:end], likeliest[begin:end])
            else:
                sequence.stored += len(tokens)
            begin = end
            unused = max(unused, len(sequence.table) * BLOCK - sequence.stored)
            if sequence.stored // BLOCK > (sequence.stored - len(tokens)) // BLOCK:
                self.pool.publish(sequence.table, sequence.tokens[: sequence.stored])
            if sequence.done:
                self._finish(sequence)
        self.steps.append(Step(self.clock.now(), start, len(parts), unused))

    def _guess(self, sequence: Sequence) -> list[int]:
        if self.draft is None:
            return []
        left = sequence.request.new - len(sequence.written)  # more would be thrown away
        return self.draft(sequence.tokens, min(self.guesses, left - 1)) if left > 1 else []

    def _write(self, sequence: Sequence, rows: list[int], logits: torch.Tensor, likeliest: list[int]) -> None:
        """Draw the next token, and go on while guesses were right."""
        guesses = rows[len(rows) - len(logits) + 1 :]
        if len(sequence.tokens) == len(sequence.request.prompt) and not sequence.number:
            self._fork(sequence, logits[0])
        for place in range(len(logits)):
            token = self._draw(sequence, logits[place], likeliest[place])
            if sequence.done or place == len(guesses) or guesses[place] != token:
                break
        sequence.stored = len(sequence.tokens) - 1
        self.pool.shrink(sequence.table, sequence.stored)

    def _draw(self, sequence: Sequence, logits: torch.Tensor, likeliest: int) -> int:
        if self.watch:
            self.watch(sequence, logits)
        greedy = sequence.sampling.temperature == 0
        token = likeliest if greedy else draw(logits, sequence.sampling, len(sequence.tokens))
        sequence.tokens.append(token)
        sequence.times.append(self.clock.now())
        return token

    def _fork(self, parent: Sequence, logits: torch.Tensor) -> None:
        """The other answers of a request: on the same blocks where they can run at once, else they wait."""
        for number in range(1, parent.request.answers):
            sampling = replace(parent.sampling, seed=parent.sampling.seed + number)
            child = Sequence(parent.request, list(parent.request.prompt), sampling, number)
            if len(self.scheduler.running) >= self.scheduler.most:
                self.scheduler.waiting.append(child)
                continue
            child.table, child.stored = self.pool.fork(parent.table), len(child.tokens)
            self.scheduler.running.append(child)
            self._draw(child, logits, int(logits.argmax()))
            if child.done:
                self._finish(child)

    def _finish(self, sequence: Sequence) -> None:
        self.pool.release(sequence.table)
        self.scheduler.running.remove(sequence)
        self.finished.append(sequence)
