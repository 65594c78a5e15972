"""How a submission is asked: a job is started, told what to do, and waited for; what breaks has a sentence."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from grader.examine import weaker
from grader.examine.cards import Card
from grader.examine.checks import (
    Check,
    StudentError,
    TimedOut,
    binds,
    mentions,
    record,
)
from grader.examine.failures import explain_failure
from grader.examine.job import GRACE, KEPT_OUTPUT, Job
from grader.examine.place import Place
from grader.examine.rng import Rng
from grader.examine.run import PerRank, Run
from grader.examine.whereabouts import explain, explain_slow
from grader.sandbox.build import MIB, Limits
from grader.sandbox.packed import Packed
from grader.sandbox.standstill import Watch
from grader.text import plain

MEMORY = "peak_memory"  # of a Run
LAST_LINES, ALL_LINES, MOST_LINES = 3, 1000, 10_000  # of each rank; of all ranks and runs


class Asking:
    """What `Submission` is made of, below what authors call."""

    def __init__(
        self,
        place: Place,
        packed: Packed,
        check: Check,
        *,
        driver: str | None,
        memory: int,
        seed: int,
        references: Path | None = None,
        keep_output: bool = False,
        card: Card | None = None,
    ):
        self._place, self._packed, self._driver, self._references = place, packed, driver, references
        self._card = card
        self._wall = self._allow(check.wall * place.stretch)
        self._deadline = time.perf_counter() + self._wall
        self._limits = Limits(memory=check.memory or memory)
        # Whether freed memory goes back to the kernel at once: for those alone who read how much was in use.
        self._frees = mentions(check.function, MEMORY)
        self.rng = Rng(seed, check.name)
        self.notes: list[str] = []
        self.output: list[str] = []
        """The last lines that were printed: by each rank of the last run, or, kept, of all runs."""
        self.keep_output, self._heard = keep_output, False
        self.asked: Callable[[str, Any], None] = lambda kind, question: None
        """Hears every question that a server is asked: for those who look on."""

    def _run(
        self,
        target: str,
        arguments: list[tuple[Any, ...]],
        kwargs: dict[str, Any],
        wall: float | None,
        *,
        world: int,
        group: bool,
        in_place: bool,
        packed: Packed | None = None,
        driver: str | None = None,
    ) -> Run:
        """Call `target` in a job of its own: of the submission and the driver, or of what is `packed` alone.

        With a `driver` of ours in place of the part's, the job has no GPU.
        """
        if packed is None and driver is None:
            self._require(target)
        now = time.perf_counter()
        deadline = min(self._deadline, now + (wall * self._place.stretch if wall else self._wall))
        # What this call has may be what the calls before it left of the check's time.
        together = deadline == self._deadline and deadline - now < 0.9 * self._wall
        self._allow(self._wall if together else deadline - now, together=together)
        card = self._card if driver is None else None
        job = Job(self._place, packed or self._packed, world, self._limits, card=card)
        try:
            driver = driver or (self._driver if packed is None else None)
            order = {"target": target, "driver": driver, "world": world, "group": group}
            self._heard = False
            self._start(job, order, deadline)
            return self._measure(job, arguments, kwargs, in_place, deadline)
        finally:
            self._let_go(job)

    def _allow(self, seconds: float, *, together: bool = False) -> float:
        """Note, and return, how long the next calls may take: each, or all calls of the check together."""
        self._allowed, self._together = seconds, together
        return seconds

    def _let_go(self, job: Job) -> None:
        """End a job, and keep what it printed."""
        try:
            self._hear(job)
            if job.printed > 2 * KEPT_OUTPUT:
                self.notes.append(f"printed {job.printed / MIB:.0f} MiB; {KEPT_OUTPUT >> 20} MiB were kept")
            if strayed := job.strayed():
                often = "once" if strayed == 1 else f"{strayed} times"
                self.notes.append(f"tried {often} to reach a network outside the sandbox")
        finally:
            job.close()

    def _text(self, name: str) -> str:
        data = self._packed.read(name) if name in self._packed.names else None
        if data is None:
            raise StudentError(f"{name} is missing; put it beside the notebook")
        return data.decode("utf-8-sig", "replace")

    def _hear(self, job: Job) -> None:
        """Keep what the ranks printed, once for each run."""
        if self._heard:
            return
        self._heard = True
        lines = job.printed_lines(ALL_LINES if self.keep_output else LAST_LINES)
        before = self.output if self.keep_output else []
        self.output = [*before, *lines][-MOST_LINES:]

    def _beside(self, target: str) -> Packed:
        """Return the file of `"module:function"` beside the checks, alone, as a sandbox unpacks it."""
        name = f"{target.partition(':')[0]}.py"
        if self._references is None or not (self._references / name).is_file():
            raise FileNotFoundError(f"{target} is asked for, but {name} does not lie beside the checks")
        return Packed(self._references, [name], others=False)

    def _require(self, target: str) -> None:
        module, _, function = target.partition(":")
        if module == "driver":
            if self._driver is None:
                raise FileNotFoundError(f"{target} is asked for, but this part has no driver file")
            if not binds(self._driver, function):
                raise AttributeError(f"{target} is asked for, but the part's driver defines no {function}")
        if module != "driver" and f"{module.replace('.', '/')}.py" not in self._packed.names:
            raise StudentError(f"{module}.py is missing; put it beside the notebook")

    def _start(self, job: Job, order: dict[str, Any], deadline: float) -> None:
        world = order["world"]
        for rank in range(world):
            job.send(rank, {**order, "heap": "frees" if self._frees else ""}, deadline)
        if order["group"]:
            # Rank 0 has imported the submission by then; the others import it meanwhile.
            port = self._answers(job, "port", deadline, ranks=[0])[0]
            for rank in range(1, world):
                job.send(rank, {"port": port}, deadline)
        self._answers(job, "ready", deadline, ranks=range(world))

    def _measure(
        self,
        job: Job,
        arguments: list[tuple[Any, ...]],
        kwargs: dict[str, Any],
        in_place: bool,
        deadline: float,
    ) -> Run:
        before, sent_before, members = job.usage(), job.traffic(), job.members()
        resident = weaker.begin_peak(job.first_pids) if before is None else None
        answer = secrets.token_hex(8)
        started = time.perf_counter()
        for rank, args in enumerate(arguments):
            call = {"args": list(args), "kwargs": kwargs, "in_place": in_place, "answer": answer}
            job.send(rank, call, deadline)
        results = self._answers(job, answer, deadline, ranks=range(len(arguments)))
        wall = time.perf_counter() - started
        after, sent, on_gpu = job.usage(), job.traffic(), job.peak_gpu_memory()
        peak = after.peak_memory if after else None
        if resident is not None and (most := weaker.peak(job.first_pids)) is not None:
            peak = most - resident
        left = job.left_since(members)
        job.drain()
        moved = None if sent is None or sent_before is None else (sent - sent_before).tolist()
        if moved and not self._place.isolated:
            record("how bytes were counted", weaker.BYTES)
        return Run(
            results=PerRank(results),
            stdout=job.text("stdout"),
            stderr=job.text("stderr"),
            wall=wall,
            cpu_seconds=after.cpu_seconds - before.cpu_seconds if before and after else None,
            peak_memory=peak,
            output_bytes=job.printed,
            processes=after.processes if after else None,
            left=left,
            sent=moved[0] if moved else None,
            packets=moved[1] if moved else None,
            peak_gpu_memory=on_gpu,
        )

    def _answer(self, job: Job, key: str, deadline: float) -> Any:
        return self._answers(job, key, deadline, ranks=[0])[0]

    def _answers(self, job: Job, key: str, deadline: float, ranks: Sequence[int]) -> list[Any]:
        """Wait until each of `ranks` sent one message and return its `key`; raise where any rank failed."""

        def failed() -> bool:
            return any(job.closed) or any(
                not isinstance(message, dict) or "error" in message for box in job.inbox for message in box
            )

        def finished() -> bool:
            return failed() or all(job.inbox[rank] for rank in ranks)

        watch = Watch(job, deadline, self._place.stretch)
        in_time = watch.wait(finished)
        if failed():
            # A rank that breaks makes its neighbours fail too, sometimes first. Hear them all, briefly.
            everyone = range(len(job.inbox))
            heard = lambda: all(job.inbox[rank] or job.closed[rank] for rank in everyone)  # noqa: E731
            job.wait(heard, min(deadline, time.perf_counter() + GRACE * self._place.stretch))
            job.drain()
            raise self._explain(job)
        if not in_time:
            if job.out_of_memory():
                raise self._out_of_memory()
            silent = [rank for rank in ranks if not job.inbox[rank]]
            job.drain()
            self._hear(job)  # before they are asked where they stand: their answer is printed too
            if watch.stood:
                asked = key not in ("port", "ready")
                why, code = explain(job, silent, watch.seconds, self._packed.names, self._text, asked)
            else:
                why, code = explain_slow(
                    job, silent, self._allowed, self._packed.names, self._text, self._together
                )
            raise TimedOut(why, yours=plain(code, 200), expected="an answer")
        answers = [job.inbox[rank].pop(0) for rank in ranks]
        if any(key not in answer for answer in answers):
            raise StudentError("your code answered something else than it was asked")
        return [answer[key] for answer in answers]

    def _out_of_memory(self) -> StudentError:
        self.notes.append("stopped by the memory limit")
        return StudentError(f"used more than the {self._limits.memory >> 20} MiB of memory allowed")

    def _explain(self, job: Job) -> StudentError:
        """Return the failure that most likely came first, in one sentence."""
        return self._out_of_memory() if job.out_of_memory() else explain_failure(job, self._place.stretch)
