"""Runs a student's suite against implementations, and finds out which mutants it kills.

A run says one thing: did the suite pass? That word comes from the student's own worker and can be forged, which gains
nothing as long as nobody can tell what he runs against. So every run has two fresh workers in which all is alike but
the answers of the implementation; right implementations stand at random places among the mutants, several times;
and a suite that fails on one of these is worth nothing. A mutant is killed when the suite fails on it in two runs,
the second of them in another random order. Who fails at random in a share q of the runs passes n right ones with
(1 - q)^n, and then kills q^2 of the mutants: with nine right runs never more than 0.6 % of them on average. Right
ones that a suite can tell from the one of which the mutants are made do not count: three runs are left, and 3.7 %.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from grader.examine.checks import Failed, StudentError, TimedOut, Undecided
from grader.examine.job import Job
from grader.examine.place import Place
from grader.examine.rng import Rng
from grader.examine.suite.mutants import Mutant
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed
from grader.text import plain

FAILS_ON = "the suite fails on a right implementation ({})"
FIRST, SECOND = 2, 1  # runs of every right implementation among the first runs, and among the second ones
AT_ONCE = 2
_WARM = ["grader.examine.suite.warm"]


@dataclass(frozen=True)
class Tried:
    """What a suite came to against one implementation, as its worker says."""

    passed: bool
    test: str = ""  # the first one that failed; empty where pytest itself did, or the worker
    why: str = ""
    seconds: float = 0.0

    @property
    def sentence(self) -> str:
        """Say what failed."""
        return f"{self.test}: {self.why}" if self.test else self.why


@dataclass(frozen=True)
class Kills:
    """Which mutants a suite killed, and how long its runs on right implementations took (seconds)."""

    killed: tuple[Mutant, ...]
    survivors: tuple[Mutant, ...]
    longest: float

    def share(self, hard: bool | None = None) -> float:
        """Return the share of mutants killed: of all, or of those that are `hard`, or of those that are not."""
        killed, all_ = (
            [one for one in those if hard is None or one.hard == hard]
            for those in (self.killed, (*self.killed, *self.survivors))
        )
        return len(killed) / len(all_)

    def about(self, hard: bool | None = None) -> str:
        """Return what the survivors are about, and how many there are of each: "evaluation (2), resuming (1)"."""
        counts: dict[str, int] = {}
        for one in self.survivors:
            if hard is None or one.hard == hard:
                counts[one.about] = counts.get(one.about, 0) + 1
        return ", ".join(f"{about} ({count})" for about, count in sorted(counts.items())) or "none"


class Suite:
    """A test file of the submission's. `Submission.suite` makes one."""

    def __init__(
        self,
        place: Place,
        limits: Limits,
        rng: Rng,
        tests: str,
        data: bytes,
        names: Mapping[str, Sequence[str]],
        *,
        wall: float,
        patience: float,
        deadline: float,
        hear: Callable[[Job], None],
    ):
        self._place, self._limits, self._rng, self._tests = place, limits, rng, tests
        self._data, self._names = data, {module: list(those) for module, those in names.items()}
        self._wall, self._patience = wall * place.stretch, patience * place.stretch
        self._deadline, self._hear = deadline, hear
        place.zygote.preload(_WARM)

    def run(self, files: Mapping[str, str]) -> Tried:
        """Run the suite against the implementation in `files`, a text by its name, each in a fresh worker.

        Raises StudentError where the implementation cannot be imported, or lacks a name.
        """
        return self._finish(*self._try(files, self._rng.integers(0, 1 << 62)))

    def _try(self, files: Mapping[str, str], salt: int) -> tuple[Tried | Exception, list[Job]]:
        """Start both workers and wait for what comes of it; in any thread, for `_finish` in the check's own."""
        started = time.perf_counter()
        end = started + 4 * self._wall
        jobs: list[Job] = []
        packed = [Packed.of({name: text.encode() for name, text in files.items()})]
        packed.append(Packed.of({self._tests: self._data}))
        try:
            for one in packed:
                jobs.append(Job(self._place, one, 1, self._limits))
            implementation, tests = jobs
            implementation.send(0, {"program": "suite", "names": self._names, "salt": salt}, end)
            clocks = {"patience": self._patience, "wall": 4 * self._wall}
            tests.send(0, {"program": "suite", "tests": self._tests, **clocks}, end)
            implementation.hand_over(0, tests, to=0)
            found = self._outcome(tests, end)
            used = [job.usage() for job in jobs]
            # Processor time, where it is counted: how busy the machine is must cost nobody his points.
            seconds = sum(one.cpu_seconds for one in used if one) or time.perf_counter() - started
            return Tried(*found, seconds=seconds), jobs
        except Exception as error:
            return error, jobs
        finally:
            for one in packed:
                one.close()

    def _finish(self, tried: Tried | Exception, jobs: list[Job]) -> Tried:
        """End both workers, in the thread whose check counts what was killed, and return what came of them."""
        if len(jobs) == 2:
            self._hear(jobs[1])
        self._place.close_later(*jobs)
        if isinstance(tried, Exception):
            raise tried
        return tried

    def kills(
        self, right: Mapping[str, Mapping[str, str]], mutants: Sequence[Mutant], *, fails_on: str = FAILS_ON
    ) -> Kills:
        """Run the suite against all of `right`, three times each, and against the mutants, those it kills twice.

        The keys of `right` say in which points an implementation differs from the reference. Raises Failed where the
        suite fails on one of them, as `fails_on` says with that key, or takes longer than it may.
        """
        longest = 0.0
        suspects = list(mutants)
        for repeats in (FIRST, SECOND):
            queue: list[tuple[str, Mutant | None]] = [(how, None) for how in right for _ in range(repeats)]
            queue += [("", one) for one in suspects]
            failed = []
            shuffled = [queue[place] for place in self._rng.permutation(len(queue)).tolist()]
            for (how, mutant), tried in zip(
                shuffled,
                self._all([right[how] if mutant is None else mutant.files for how, mutant in shuffled]),
                strict=True,
            ):
                if mutant is None:
                    self._require(tried, fails_on.format(how))
                    longest = max(longest, tried.seconds)
                elif not tried.passed:
                    failed.append(mutant)
            suspects = [one for one in suspects if one in failed]
        survivors = tuple(one for one in mutants if one not in suspects)
        return Kills(tuple(suspects), survivors, longest)

    def _all(self, implementations: Sequence[Mapping[str, str]]) -> Iterator[Tried]:
        """Yield what comes of the suite against each, in order, `AT_ONCE` of them at a time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running: deque[Future] = deque()
            try:
                for files in implementations:
                    if time.perf_counter() > self._deadline - 4 * self._wall:
                        raise Undecided("the time of the check was not enough for all implementations")
                    running.append(pool.submit(self._try, files, self._rng.integers(0, 1 << 62)))
                    if len(running) == AT_ONCE:
                        yield self._finish(*running.popleft().result())
                while running:
                    yield self._finish(*running.popleft().result())
            finally:
                for one in running:
                    _, jobs = one.result()
                    self._place.close_later(*jobs)

    def _require(self, tried: Tried, fails: str) -> None:
        if not tried.passed and not tried.test:
            raise Failed(tried.why, expected="a file of tests that pytest can run to its end", hint="")
        if not tried.passed:
            raise Failed(
                f"{fails}. {tried.sentence}",
                yours=tried.test,
                expected="a suite that passes on everything that does what the statement says",
                hint="",  # the check's own is about mutants that survive
            )
        if tried.seconds > self._wall:
            raise TimedOut(
                f"the suite takes {tried.seconds:.3g} s on a right implementation",
                expected=f"at most {self._wall:.3g} s; make fewer calls, on smaller inputs",
            )

    def _outcome(self, tests: Job, end: float) -> tuple[bool, str, str]:
        """Return whether the suite passed, the test that failed, and why."""
        try:
            answered = tests.wait(lambda: bool(tests.inbox[0] or tests.closed[0]), end)
        except StudentError as error:  # it prints without end
            return False, "", error.why
        tests.drain()
        if not answered:
            return False, "", f"the suite did not end within {4 * self._wall:.3g} s"
        message = tests.inbox[0].pop(0) if tests.inbox[0] else None
        if tests.out_of_memory():
            return False, "", "the suite used more memory than it may"
        if not isinstance(message, dict):
            return (
                False,
                "",
                f"the process of the tests {tests.closed[0] or 'said something else than asked'}; no test may exit",
            )
        if "broken" in message:
            raise StudentError(f"the implementation cannot be tested: {plain(message['broken'], 300)}")
        if "error" in message:
            error = message["error"] if isinstance(message["error"], dict) else {}
            told = f"{plain(error.get('type'), 80)}: {plain(error.get('message'), 300)}"
            return False, "", f"pytest could not run the suite: {told}"
        return _read(message)


def _read(message: dict[str, Any]) -> tuple[bool, str, str]:
    rows = message.get("tests")
    if not isinstance(rows, list) or not all(
        type(row) is list and len(row) == 3 and all(type(text) is str for text in row) for row in rows
    ):
        return False, "", "the process of the tests said something else than asked"
    for name, outcome, text in rows:
        if outcome == "broken":
            return False, "", f"pytest cannot load {plain(name, 100)}: {plain(text, 400)}"
        if outcome == "failed":
            return False, plain(name, 100), plain(text, 400)
    passed = [row for row in rows if row[1] == "passed"]
    if rows and not passed:
        return False, "", f"no test passed: all that ran ({len(rows)}) were skipped; take out what skips them"
    if not passed:
        return False, "", "pytest found no test: name functions test_..."
    if message.get("code") != 0:
        return False, "", f"pytest ended with code {plain(message.get('code'), 10)}"
    return True, "", ""
