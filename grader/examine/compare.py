"""Is this code faster than that? A verdict by pairs that are measured side by side, or none.

Two times are compared only where both were taken at once on the same machine: reference, submission, submission,
reference, ... on the same inputs, which are new in every pair. The verdict falls when a 98 % interval of the
ratio lies on one side of the threshold. Where 60 pairs do not bring that about, a person decides.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grader.examine.checks import Failed, StudentError, Undecided, gather, record
from grader.examine.job import Job
from grader.examine.place import Place
from grader.sandbox import wire
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed

# Few looks, because each is a chance to be wrong. Fewer than 8 pairs make no interval worth its name.
LOOKS = (8, 11, 15, 20, 27, 35, 45, 60)
MOST_DRAWS = 20  # of inputs, until some are new


@dataclass(frozen=True)
class Seconds:
    """What one call took: from the first byte of the question to the last of the answer, and of processors."""

    wall: float
    cpu: float | None  # of all processes of the job, None without control groups


@dataclass(frozen=True)
class Interval:
    """How many times as fast the submission is: the median over pairs, with its 98 % interval."""

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
        """Return the ratio by `clock`: `cpu`, or `wall`, where more processors than allowed count as time."""
        # Imported late: it costs a second, and few checks compare.
        import numpy as np

        from effdl.bench import bootstrap_interval

        def seconds(side: tuple[Seconds, ...]) -> np.ndarray:
            # A kernel that counts in ticks may count nothing; a microsecond is what the finest of them tells apart.
            cpu = np.array([max(one.cpu or 0.0, 1e-6) for one in side]) / self.cpus
            return cpu if clock == "cpu" else np.maximum(cpu, [one.wall for one in side])

        logs = np.log(seconds(self.reference) / seconds(self.submission))
        return Interval(clock, *map(float, np.exp([np.median(logs), *bootstrap_interval(logs)])))

    def verdict(self, threshold: float, clock: str = "cpu") -> tuple[bool | None, Interval]:
        """Return whether the submission is at least `threshold` times as fast, None where that is not settled.

        By processor time, because neighbours on the machine hardly change it, where they change wall time by
        half. Code that waits instead of working uses none, therefore wall time must not speak against it.
        """
        if clock == "wall" or self.reference[0].cpu is None:
            found = self.interval("wall")
            return _side(found, threshold), found
        found = self.interval("cpu")
        if any(one.cpu == 0 for one in (*self.reference, *self.submission)):
            return None, found  # this kernel's clock is too coarse for these calls: a person decides
        if passed := _side(found, threshold):
            wall = self.interval("wall")
            if wall.high < threshold:
                # On a busy machine a few pairs can look so by chance.
                return (False if len(self.reference) >= LOOKS[4] else None), wall
        return passed, found


def _side(found: Interval, threshold: float) -> bool | None:
    return None if found.low <= threshold <= found.high else found.low > threshold


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
    ):
        """Start the worker, which imports its module and is then frozen.

        `order` is what a worker is told first, `answer(job, key, deadline)` waits for one message of the worker
        and returns what stands under `key`, raising StudentError where nothing does.
        """
        self._job = Job(place, packed, 1, limits)
        self._answer = answer
        try:
            self._job.send(0, order, deadline)
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


def pairs(
    reference: Contender,
    submission: Contender,
    inputs: Callable[[], Sequence[Any]],
    verify: Callable[[Any, Any], None],
    *,
    cpus: float,
    decided: Callable[[Comparison], bool],
    warmup: int,
    wall: float,
    deadline: float,
) -> Comparison:
    """Measure pairs until a look finds it `decided`, 60 are there, or another might not end before `deadline`.

    The first `warmup` pairs are verified and not timed. `wall` bounds one call (seconds). Raises what `verify`
    raises, StudentError where the submission does not answer, RuntimeError where the reference does not, and
    Undecided where not even the first look was reached.
    """
    times: list[tuple[Seconds, Seconds]] = []
    result, longest = None, 0.0
    seen: set[bytes] = set()
    with gather() as evidence:
        for number in range(-warmup, LOOKS[-1]):
            begin = time.perf_counter()
            if begin + 2 * longest > deadline:
                break
            arguments = _new(inputs, seen)
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
                    f"verify returned {returned!r}; it must raise Failed, as the expect functions do"
                )
            longest = max(longest, time.perf_counter() - begin)
            if number >= 0:
                times.append((found[reference][1], found[submission][1]))
            if number + 1 in LOOKS:
                ours, theirs = zip(*times, strict=True)
                result = Comparison(ours, theirs, cpus)
                if decided(result):
                    break
    if result is None:
        raise Undecided(f"the time of the check was enough for {len(times)} pairs; {LOOKS[0]} are needed")
    return result


def _new(inputs: Callable[[], Sequence[Any]], seen: set[bytes]) -> list[Any]:
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


def judge(result: Comparison, threshold: float, clock: str) -> None:
    """Record the ratio; raise Failed where it lies below the threshold, Undecided where that is not clear."""
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
    if passed is None:
        raise Undecided(f"{seen}, where {threshold:g} is asked for: {open_}")
    if not passed:
        raise Failed(
            f"{seen}, at least {threshold:g} is asked for", f"{found.ratio:.3g}; {open_}", f"{threshold:g}"
        )
