"""How fast is a submission between the reference and what this machine can do at all? A score with an interval.

The score is the share of the gap that a submission closes: 0 is the reference's time, 1 that of the floor, a
function that takes the same inputs and does only what no solution can do without. All three run side by side, as in
`compare`, in rounds; each round starts its workers anew. Where a worker's memory happens to lie makes it a few
percent faster or slower for as long as it lives, and no number of calls averages that out. So the interval is the
bootstrap's, over rounds.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grader.examine.checks import Check, StudentError, Undecided, gather
from grader.examine.compare import ALONE, Comparison, Interval, Seconds, Side, fresh
from grader.examine.job import Job
from grader.examine.place import Place
from grader.examine.submission import Submission
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed

if TYPE_CHECKING:
    import numpy as np

ROUNDS = 8
# Of one round, at least and at most; multiples of 3, so that each side is first, second and last as often.
TRIPLES = 3, 12
SECONDS = 2.0  # that a round may take where its calls are short
PATIENCE = 4  # times as long as a verdict may take
NARROWEST = 0.9  # a floor that takes more of the reference's time leaves no gap to close


@dataclass(frozen=True)
class Round:
    """The median times of one round, of the submission and of the floor, as parts of the reference's."""

    submission: float
    floor: float


@dataclass(frozen=True)
class Standing:
    """What a race against the floor came to."""

    clock: str
    rounds: tuple[Round, ...]

    def share(self) -> Interval:
        """Return the share of the gap that is closed: the median of the rounds, and its 98 % interval."""
        return self._over(lambda rounds: (1 - rounds[..., 0]) / (1 - rounds[..., 1]), "share of the gap")

    def times(self) -> Interval:
        """Return how many times as fast as the reference the submission is, with the 98 % interval."""
        return self._over(lambda rounds: 1 / rounds[..., 0], self.clock)

    def _over(self, value: Callable[[np.ndarray], np.ndarray], name: str) -> Interval:
        import numpy as np

        from effdl.bench import bootstrap_interval

        values = value(np.array([[one.submission, one.floor] for one in self.rounds]))
        return Interval(name, float(np.median(values)), *bootstrap_interval(values))


class Entrant(Submission):
    """A submission that races for the leaderboard: where a check compares, it is measured and not judged."""

    def __init__(self, place: Place, packed: Packed, check: Check, **options: Any):
        super().__init__(place, packed, check, **options)
        self._deadline += (PATIENCE - 1) * self._wall
        self._floor = check.floor
        self.standing: Standing | None = None

    def _race(
        self,
        target: str,
        against: str,
        start: Callable[[Packed, Limits, str, Callable[[Job], None]], Side],
        inputs: Callable[[], Sequence[Any]],
        threshold: float,
        verify: Callable[[Any, Any], None],
        warmup: int,
        clock: str,
        cpus: float,
        wall: float,
    ) -> None:
        """Measure rounds of triples; see `Submission.compare`. The threshold is the grade's."""
        if self.standing is not None:
            raise RuntimeError("a check with a floor compares once; write a check for each comparison")
        self._require(target)
        wall = self._allow(wall * self._place.stretch)
        limits = replace(self._limits, cpus=cpus)
        rounds: list[Round] = []
        beside: list[tuple[Seconds, Seconds]] = []
        calls: list[tuple[Seconds, Seconds]] = []
        seen: set[bytes] = set()
        with (
            contextlib.closing(self._beside(against)) as baseline,
            contextlib.closing(self._beside(self._floor)) as floor,
        ):
            while len(rounds) < ROUNDS:
                begin = time.perf_counter()
                found, clock, pairs, again = _round(
                    lambda: start(baseline, limits, against, Job.close),
                    lambda: start(self._packed, limits, target, self._let_go),
                    lambda: start(floor, limits, self._floor, Job.close),
                    lambda: fresh(inputs, seen),
                    verify,
                    warmup=max(1, warmup),
                    clock=clock,
                    cpus=cpus,
                    wall=wall,
                    deadline=self._deadline,
                )
                rounds.append(found)
                calls += pairs
                beside += again
                took = time.perf_counter() - begin
                if len(rounds) < ROUNDS and time.perf_counter() + 1.5 * took > self._deadline:
                    raise Undecided(
                        f"time was enough for {len(rounds)} rounds of {ROUNDS}; allow the check more"
                    )
        calm, busy = zip(*beside, strict=True)
        if Comparison(calm, busy, cpus).interval(clock).high < ALONE:
            raise Undecided("the reference was slower beside the submission's stopped processes than alone")
        if max(one.floor for one in rounds) > NARROWEST:
            most = max(one.floor for one in rounds)
            raise Undecided(
                f"the floor {self._floor} takes {most:.2f} of the reference's time: no gap to close"
            )
        standing = Standing(clock, tuple(rounds))
        # The median does not see what is slow in fewer than half of the calls.
        ours, theirs = zip(*calls, strict=True)
        total, times = Comparison(ours, theirs, cpus).total(clock), standing.times()
        if total.high < times.low:
            raise Undecided(
                f"{times.ratio:.3g} times as fast as the reference in the median call and {total.ratio:.3g} times in "
                "all: some calls are slow"
            )
        self.standing = standing


def _round(
    start_reference: Callable[[], Side],
    start_submission: Callable[[], Side],
    start_floor: Callable[[], Side],
    inputs: Callable[[], Sequence[Any]],
    verify: Callable[[Any, Any], None],
    *,
    warmup: int,
    clock: str,
    cpus: float,
    wall: float,
    deadline: float,
) -> tuple[Round, str, list[tuple[Seconds, Seconds]], list[tuple[Seconds, Seconds]]]:
    """Start three workers and measure triples.

    Returns the round, the clock that was used, what reference and submission took for each question, and for the last
    questions what the reference took without the submission's processes, and before.
    """
    times: list[tuple[Seconds, Seconds, Seconds]] = []
    asked: deque[tuple[Sequence[Any], Seconds]] = deque(maxlen=TRIPLES[0])
    with contextlib.ExitStack() as stack:
        reference = stack.enter_context(contextlib.closing(_ours(start_reference)))
        floor = stack.enter_context(contextlib.closing(_ours(start_floor)))
        with contextlib.closing(start_submission()) as submission, gather() as evidence:
            sides, most, number = (reference, submission, floor), TRIPLES[0], -warmup
            while number < most:
                begin = time.perf_counter()
                arguments = inputs()
                found = {}
                for place in range(3):
                    side = sides[(place + number) % 3]
                    until = min(deadline, time.perf_counter() + wall)
                    if side is submission:
                        found[side] = side.call(arguments, until)
                    else:
                        found[side] = _ours(
                            lambda side=side, arguments=arguments, until=until: side.call(arguments, until)
                        )
                evidence.measured.clear()
                verify(found[submission][0], found[reference][0])
                if number >= 0:
                    times.append(tuple(found[side][1] for side in sides))  # type: ignore[arg-type]
                    asked.append((arguments, found[reference][1]))
                number += 1
                if number == 0:
                    fit = SECONDS / (time.perf_counter() - begin)
                    most = min(TRIPLES[1], max(TRIPLES[0], int(fit) // 3 * 3))
        again = [
            (
                _ours(lambda arguments=arguments: reference.call(arguments, time.perf_counter() + wall))[1],
                before,
            )
            for arguments, before in asked
        ]
    ours, theirs, least = zip(*times, strict=True)
    if any(one.cpu is None for one in ours):
        clock = "wall"
    elif clock == "cpu" and any(one.cpu == 0 for one in (*ours, *theirs)):
        raise Undecided("the clock of this kernel is too coarse for calls that are so short")
    ratios = (1 / Comparison(ours, other, cpus).interval(clock).ratio for other in (theirs, least))
    return Round(*ratios), clock, list(zip(ours, theirs, strict=True)), again


def _ours(work: Callable[[], Any]) -> Any:
    """Return what the course's own code gives; what it raises is no student's error."""
    try:
        return work()
    except StudentError as error:
        raise RuntimeError(f"the reference or the floor failed: {error.why}") from error
