"""Is this code faster than that? A verdict by pairs that are measured side by side, or none.

Two times are compared only where both were taken at once on the same machine: reference, submission, submission,
reference, ... on the same inputs, which are new in every pair. The verdict falls when a 98 % interval of the
ratio lies on one side of the threshold. Where 60 pairs do not bring that about, a person decides.

Fast means fast in the middle and fast in all: work that is slow now and then is slow. And what the kernel does on
behalf of frozen processes, on nobody's account, must not make a reference slow: the last pairs' questions are asked
of it again when no process of the submission is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from grader.examine.cards import Card
from grader.examine.checks import Failed, StudentError, Undecided, gather, record
from grader.examine.job import Job
from grader.examine.place import Place
from grader.examine.shown import short
from grader.sandbox import wire
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed

if TYPE_CHECKING:
    import numpy as np

# Few looks, because each is a chance to be wrong. Fewer than 8 pairs make no interval worth its name.
LOOKS = (8, 11, 15, 20, 27, 35, 45, 60)
MOST_DRAWS = 20  # of inputs, until some are new
# Of work that is slow in every fourth call, by chance, 20 pairs show nothing 3 times in 1,000; 8 pairs, 1 in 10.
FAST_FROM = 20
MANY = 27  # so many pairs may say slow against a median that says fast
SPOILT = 30  # one call in so many may have been a neighbour's doing, on either side
AGAIN = 8  # questions that the reference answers once more, alone
# How much a reference may gain from being alone: what lies in the processor's caches is then all its own.
ALONE = 0.95


@dataclass(frozen=True)
class Seconds:
    """What one call took: from the first byte of the question to the last of the answer, and of processors."""

    wall: float
    cpu: float | None  # of all processes of the job, None without control groups


@dataclass(frozen=True)
class Interval:
    """How many times as fast the submission is, with the 98 % interval: in the median pair, or in total."""

    clock: str
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The pairs measured so far, in the order of time, and the processors that each side may use."""

    reference: tuple[Seconds, ...]
    submission: tuple[Seconds, ...]
    cpus: float = 1

    def interval(self, clock: str) -> Interval:
        """Return the median ratio by `clock`: `cpu`, or `wall`, where more processors than allowed are time too."""
        # Imported late: it costs a second, and few checks compare.
        import numpy as np

        from effdl.bench import bootstrap_interval

        logs = np.log(self._seconds(self.reference, clock) / self._seconds(self.submission, clock))
        return Interval(clock, *map(float, np.exp([np.median(logs), *bootstrap_interval(logs)])))

    def total(self, clock: str) -> Interval:
        """Return the ratio of the sums of all calls, but for the longest of every `SPOILT` on either side."""
        import numpy as np

        from effdl.bench import bootstrap_interval

        reference, submission = (self._seconds(side, clock) for side in (self.reference, self.submission))
        kept = len(reference) - len(reference) // SPOILT

        def ratio(picks: np.ndarray, axis: int) -> np.ndarray:
            ours, theirs = (
                np.sort(side[picks.astype(int)], axis=axis)[..., :kept].sum(axis)
                for side in (reference, submission)
            )
            return ours / theirs

        pairs = np.arange(len(reference))
        return Interval(f"total {clock}", float(ratio(pairs, 0)), *bootstrap_interval(pairs, ratio))

    def verdict(self, threshold: float, clock: str = "cpu") -> tuple[bool | None, Interval]:
        """Return whether the submission is at least `threshold` times as fast, None where that is not settled.

        By processor time, because neighbours on the machine hardly change it, where they change wall time by
        half. Code that waits instead of working uses none, therefore wall time must not speak against it. Nor may
        the total: the median does not see what is slow in fewer than half of the calls.
        """
        count = len(self.reference)
        clock = "wall" if self.reference[0].cpu is None else clock
        found = self.interval(clock)
        if clock == "cpu" and any(one.cpu == 0 for one in (*self.reference, *self.submission)):
            return None, found  # this kernel's clock is too coarse for these calls: a person decides
        passed = _side(found, threshold)
        if not passed:
            return passed, found
        if clock == "cpu":
            wall = self.interval("wall")
            if wall.high < threshold:
                # On a busy machine a few pairs can look so by chance.
                return (False if count >= MANY else None), wall
        total = self.total(clock)
        if total.ratio < threshold:
            return (False if count >= MANY and total.high < threshold else None), total
        return (True if count >= FAST_FROM else None), found

    def _seconds(self, side: tuple[Seconds, ...], clock: str) -> np.ndarray:
        import numpy as np

        # A kernel that counts in ticks may count nothing; a microsecond is what the finest of them tells apart.
        cpu = np.array([max(one.cpu or 0.0, 1e-6) for one in side]) / self.cpus
        return cpu if clock == "cpu" else np.maximum(cpu, [one.wall for one in side])


def _side(found: Interval, threshold: float) -> bool | None:
    return None if found.low <= threshold <= found.high else found.low > threshold


class Side(Protocol):
    """What answers one call after another, and stands still between them."""

    def call(self, arguments: Sequence[Any], deadline: float) -> tuple[Any, Seconds]: ...

    def close(self) -> None: ...


class Contender:
    """One worker that answers one call after another, and stands still between them."""

    def __init__(
        self,
        place: Place,
        packed: Packed,
        limits: Limits,
        order: dict[str, Any],
        answer: Callable[[Job, str, float], Any],
        deadline: float,
        card: Card | None = None,
    ):
        """Start the worker, which imports its module and is then frozen. It has no network, whatever `limits` say.

        `order` is what a worker is told first, `answer(job, key, deadline)` waits for one message of the worker
        and returns what stands under `key`, raising StudentError where nothing does.
        """
        # What TCP sends by itself is work of the kernel's that goes on while its owner is frozen.
        self._job = Job(place, packed, 1, replace(limits, internet=False), card=card)
        self._answer = answer
        try:
            self._job.send(0, {**order, "heap": "keeps"}, deadline)
            answer(self._job, "ready", deadline)
            self._job.freeze(True)
        except BaseException:
            self.close()
            raise

    def call(self, arguments: Sequence[Any], deadline: float) -> tuple[Any, Seconds]:
        """Return the result of a call and what it took.

        All processor time between two freezes counts, so work before the question and after the answer is no gift.
        """
        job, key = self._job, secrets.token_hex(8)
        question = wire.encode({"args": list(arguments), "kwargs": {}, "in_place": False, "answer": key})
        before = job.usage()
        job.freeze(False)
        started = time.perf_counter()
        job.send_frame(0, question, deadline)
        result = self._answer(job, key, deadline)
        wall = job.last_byte - started
        job.freeze(True)
        after = job.usage()
        if job.has_unasked():
            raise StudentError("your code answered before it was asked")
        cpu = after.cpu_seconds - before.cpu_seconds if before and after else None
        return result, Seconds(wall, cpu)

    def close(self) -> None:
        """End the worker."""
        self._job.close()


def race(
    against: str,
    start_reference: Callable[[], Side],
    start_submission: Callable[[], Side],
    inputs: Callable[[], Sequence[Any]],
    verify: Callable[[Any, Any], None],
    threshold: float,
    *,
    clock: str,
    cpus: float,
    warmup: int,
    wall: float,
    deadline: float,
    weaker: str,
) -> None:
    """Start both sides, measure pairs, and judge them; see `Submission.compare`.

    `weaker` says how time was measured where there are no control groups.
    """
    with contextlib.ExitStack() as stack:
        try:
            reference = stack.enter_context(contextlib.closing(start_reference()))
        except StudentError as error:
            raise RuntimeError(f"the reference {against} does not start: {error.why}") from error
        with contextlib.closing(start_submission()) as submission:
            result, asked = pairs(
                *(reference, submission, inputs, verify),
                cpus=cpus,
                decided=lambda found: found.verdict(threshold, clock)[0] is not None,
                warmup=warmup,
                wall=wall,
                deadline=deadline,
            )
        if weaker:
            record("how time was measured", weaker)
        passed = result.verdict(threshold, clock)[0]
        undisturbed = alone(reference, asked, result, wall=wall) if passed else None
    judge(result, threshold, clock, undisturbed)


def pairs(
    reference: Side,
    submission: Side,
    inputs: Callable[[], Sequence[Any]],
    verify: Callable[[Any, Any], None],
    *,
    cpus: float,
    decided: Callable[[Comparison], bool],
    warmup: int,
    wall: float,
    deadline: float,
) -> tuple[Comparison, list[Sequence[Any]]]:
    """Measure pairs until a look finds it `decided`, 60 are there, or another might not end before `deadline`.

    Returns them, and the arguments of the last `AGAIN` pairs, for `alone`. The first `warmup` pairs are verified
    and not timed. `wall` bounds one call (seconds). Raises what `verify` raises, StudentError where the submission
    does not answer, RuntimeError where the reference does not, and Undecided where not even the first look was
    reached.
    """
    times: list[tuple[Seconds, Seconds]] = []
    asked: deque[Sequence[Any]] = deque(maxlen=AGAIN)
    result, longest = None, 0.0
    seen: set[bytes] = set()
    with gather() as evidence:
        for number in range(-warmup, LOOKS[-1]):
            begin = time.perf_counter()
            if begin + 2 * longest > deadline:
                break
            arguments = fresh(inputs, seen)
            found = {}
            # ABBA: whatever drifts in the machine falls on both alike.
            for side in (reference, submission) if number % 2 == 0 else (submission, reference):
                try:
                    found[side] = side.call(arguments, min(deadline, time.perf_counter() + wall))
                except StudentError as error:
                    if side is submission:
                        raise
                    raise RuntimeError(f"the reference failed: {error.why}") from error
            # What the last pair measured is enough of it.
            evidence.measured.clear()
            returned = verify(found[submission][0], found[reference][0])
            if returned is not None:
                raise TypeError(
                    f"verify returned {short(returned)}; it must raise Failed, as the expect functions do"
                )
            longest = max(longest, time.perf_counter() - begin)
            if number < 0:
                continue
            times.append((found[reference][1], found[submission][1]))
            asked.append(arguments)
            if number + 1 in LOOKS:
                ours, theirs = zip(*times, strict=True)
                result = Comparison(ours, theirs, cpus)
                if decided(result):
                    break
    if result is None:
        raise Undecided(f"the time of the check was enough for {len(times)} pairs; {LOOKS[0]} are needed")
    return result, list(asked)


def fresh(inputs: Callable[[], Sequence[Any]], seen: set[bytes]) -> list[Any]:
    """Return inputs that are not among those `seen`, to which they are added."""
    for _ in range(MOST_DRAWS):
        arguments = list(inputs())
        digest = hashlib.sha256(wire.encode({"args": arguments})).digest()
        if digest not in seen:
            seen.add(digest)
            return arguments
    raise ValueError(
        f"inputs() gave what it had given before {MOST_DRAWS} times in a row, so that a cache would be fast; "
        "draw them from sub.rng"
    )


def alone(reference: Side, asked: Sequence[Sequence[Any]], result: Comparison, *, wall: float) -> Comparison:
    """Ask the reference the last questions again, when nothing of the submission is left, and return those pairs.

    `wall` bounds one call (seconds); no deadline does, since this is the course's own code.
    """
    again = []
    for arguments in asked:
        try:
            again.append(reference.call(arguments, time.perf_counter() + wall)[1])
        except StudentError as error:
            raise RuntimeError(f"the reference failed: {error.why}") from error
    return Comparison(tuple(again), result.submission[-len(again) :], result.cpus)


def judge(result: Comparison, threshold: float, clock: str, undisturbed: Comparison | None = None) -> None:
    """Record the ratio; raise Failed where it lies below the threshold, Undecided where that is not clear.

    `undisturbed` is what `alone` returned. Undecided, too, where it speaks against what was measured side by side.
    """
    passed, found = result.verdict(threshold, clock)
    count = len(result.reference)
    seen = f"{found.ratio:.3g} times as fast as the reference ({found.clock} time)"
    open_ = f"{found.low:.3g} to {found.high:.3g} in {count} pairs, with 98 % confidence"
    record(
        f"times as fast as the reference, {found.clock} time",
        found.ratio,
        "",
        f"at least {threshold:g}; {open_}",
    )
    if passed is None and count < FAST_FROM and found.low > threshold:
        raise Undecided(
            f"{seen}, but the time of the check was enough for {count} pairs; {FAST_FROM} are needed"
        )
    if passed is None:
        raise Undecided(f"{seen}, where {threshold:g} is asked for: {open_}")
    if not passed:
        raise Failed(
            f"{seen}, at least {threshold:g} is asked for", f"{found.ratio:.3g}; {open_}", f"{threshold:g}"
        )
    if undisturbed is not None:
        calm = undisturbed.interval(found.clock)
        if calm.ratio < ALONE * threshold:
            raise Undecided(
                f"{seen} beside the submission's stopped processes, {calm.ratio:.3g} times when they were gone: "
                "something of theirs made the reference slow"
            )
