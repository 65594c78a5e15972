"""A submission as a check sees it: `sub.call`, `sub.ranks`, `sub.slope`, `sub.compare`."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grader.examine import weaker
from grader.examine.checks import (
    Check,
    Line,
    StudentError,
    TimedOut,
    Undecided,
    binds,
    not_measured,
    record,
)
from grader.examine.compare import Contender, alone, judge, pairs
from grader.examine.job import GRACE, KEPT_OUTPUT, Job, who
from grader.examine.place import Place
from grader.examine.rng import Rng
from grader.examine.run import PerRank, Run
from grader.examine.whereabouts import explain, explain_slow
from grader.sandbox.build import MIB, Limits
from grader.sandbox.packed import Packed
from grader.sandbox.standstill import Watch
from grader.text import plain

LAST_LINES, ALL_LINES, MOST_LINES = 3, 1000, 10_000  # of each rank; of all ranks and runs
INSTEAD = "Take it out and print what you want to see; the check with --output shows all that is printed."


class Submission:
    """What a check is given as `sub`."""

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
    ):
        self._place, self._packed, self._driver, self._references = place, packed, driver, references
        self._wall = self._allowed = check.wall * place.stretch
        self._deadline = time.perf_counter() + self._wall
        self._limits = Limits(memory=check.memory or memory)
        self.rng = Rng(seed, check.name)
        self.notes: list[str] = []
        self.output: list[str] = []
        """The last lines that were printed: by each rank of the last run, or, kept, of all runs."""
        self.keep_output, self._heard = keep_output, False

    def call(self, target: str, *args: Any, wall: float | None = None, **kwargs: Any) -> Run:
        """Call `"module:function"` of the submission (or of the driver) in one worker without a process group.

        `wall` bounds this call in seconds, beside the check's own bound; on a slow machine both are longer.
        Raises StudentError where the submission raises, exits, is too slow, uses too much memory or lacks the
        function.
        """
        return self._run(target, [args], kwargs, wall, world=1, group=False, in_place=False)

    def ranks(
        self,
        target: str,
        *,
        world: int,
        per_rank: Sequence[Any] | None = None,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        wall: float | None = None,
    ) -> Run:
        """Call `"module:function"` on `world` ranks that share a gloo process group.

        Rank r is called as `function(per_rank[r], r, world, *args, **kwargs)`, without the first where
        `per_rank` is None. Where a function returns None, its first argument, as it then is, is the result.
        Raises StudentError as `call` does.
        """
        if per_rank is not None and len(per_rank) != world:
            raise ValueError(f"per_rank has {len(per_rank)} entries for a world size of {world}")
        heads = [()] * world if per_rank is None else [(value,) for value in per_rank]
        arguments = [(*head, rank, world, *args) for rank, head in enumerate(heads)]
        in_place = per_rank is not None
        return self._run(target, arguments, kwargs or {}, wall, world=world, group=True, in_place=in_place)

    def apart(self, target: str, *args: Any, wall: float | None = None) -> Run:
        """Call `"module:function"` of a file beside the checks in a worker that holds nothing of the submission's.

        For what a submission made and someone else must run: a file in a format whose readers nobody should trust
        with a stranger's bytes in the examiner. Raises StudentError as `call` does, FileNotFoundError where the file
        is not there.
        """
        with contextlib.closing(self._beside(target)) as packed:
            try:
                return self._run(target, [args], {}, wall, world=1, group=False, in_place=False, packed=packed)
            except StudentError as error:
                raise type(error)(f"{error.why} (run apart from your code, on what it returned)") from None

    def slope(self, run: Callable[[int], Run], sizes: Sequence[int]) -> Line | None:
        """Call `run(size)` for each size, and return the peak memory (bytes) of the runs as a line over the size.

        For `expect_slope_at_most`. Of one run, half is the interpreter and what a page more or less adds; how
        memory grows is the submission's own. Without control groups it is the VmHWM of the processes, a weaker
        measure that the evidence names, and None where there is none: the check is then *not measured*. Raises
        Undecided where this kernel does not count peak memory, ValueError for less than 3 sizes.
        """
        if len(set(sizes)) < 3:
            raise ValueError(f"slope() needs at least 3 different sizes, not {list(sizes)}")
        peaks = [run(size).peak_memory for size in sizes]
        known = tuple(peak for peak in peaks if peak is not None)
        if len(known) == len(peaks):
            if self._place.cgroups is None:
                record("how memory was measured", weaker.MEMORY)
            return Line(tuple(sizes), known)
        if self._place.cgroups is not None:
            raise Undecided(
                "this kernel does not count peak memory with what lies in sockets: version 2 control groups do "
                "from Linux 5.19"
            )
        not_measured("peak memory", "no control groups on this machine; the grader has them")
        return None

    def compare(
        self,
        target: str,
        inputs: Callable[[], Sequence[Any]],
        *,
        against: str,
        threshold: float,
        verify: Callable[[Any, Any], None],
        warmup: int = 2,
        clock: str = "cpu",
        cpus: float = 1,
        wall: float = 10,
    ) -> None:
        """Expect `target` to be at least `threshold` times as fast as the reference `against`.

        `against` is `"module:function"` of a file beside the checks. `inputs` is called once per pair and returns
        the arguments of both, with shapes and numbers of its own each time. `verify(result, of_reference)` is
        called for every pair, those of the `warmup` too, which are not timed; it raises Failed by means of
        `expect_close` and the like. Both sides may use `cpus` processors, and `wall` seconds for a call.
        `clock="wall"` judges code that waits (for input, for other processors), where processor time cannot.

        Raises Failed or StudentError where the submission is wrong, breaks or is slower, Undecided where
        60 pairs or the check's own time do not settle it.
        """
        self._require(target)
        self._allowed = wall = wall * self._place.stretch
        limits = replace(self._limits, cpus=cpus)

        def start(packed: Packed, target: str) -> Contender:
            order = {"target": target, "driver": self._driver, "world": 1, "group": False}
            deadline = min(self._deadline, time.perf_counter() + wall)
            return Contender(self._place, packed, limits, order, self._answer, deadline)

        with contextlib.ExitStack() as stack:
            baseline = stack.enter_context(contextlib.closing(self._beside(against)))
            try:
                reference = stack.enter_context(contextlib.closing(start(baseline, against)))
            except StudentError as error:
                raise RuntimeError(f"the reference {against} does not start: {error.why}") from error
            with contextlib.closing(start(self._packed, target)) as submission:
                result, asked = pairs(
                    *(reference, submission, inputs, verify),
                    cpus=cpus,
                    decided=lambda found: found.verdict(threshold, clock)[0] is not None,
                    warmup=warmup,
                    wall=wall,
                    deadline=self._deadline,
                )
            if self._place.cgroups is None:
                record("how time was measured", weaker.TIME)
            passed = result.verdict(threshold, clock)[0]
            undisturbed = alone(reference, asked, result, wall=wall) if passed else None
        judge(result, threshold, clock, undisturbed)

    def source(self, name: str) -> str:
        """Return the text of one of the student's files; raises StudentError where it is missing."""
        data = self._packed.read(name) if name in self._packed.names else None
        if data is None:
            raise StudentError(f"{name} is missing; put it beside the notebook")
        return data.decode("utf-8-sig", "replace")

    def note(self, name: str, value: float | str, unit: str = "") -> None:
        """Record something measured without judging it."""
        record(name, value, unit)

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
    ) -> Run:
        """Call `target` in a job of its own: of the submission and the driver, or of what is `packed` alone."""
        if packed is None:
            self._require(target)
        now = time.perf_counter()
        deadline = min(self._deadline, now + (wall * self._place.stretch if wall else self._wall))
        self._allowed = max(0.0, deadline - now)
        job = Job(self._place, packed or self._packed, world, self._limits)
        try:
            driver = self._driver if packed is None else None
            order = {"target": target, "driver": driver, "world": world, "group": group}
            self._heard = False
            self._start(job, order, deadline)
            return self._measure(job, arguments, kwargs, in_place, deadline)
        finally:
            self._hear(job)
            if job.printed > 2 * KEPT_OUTPUT:
                self.notes.append(f"printed {job.printed / MIB:.0f} MiB; {KEPT_OUTPUT >> 20} MiB were kept")
            if strayed := job.strayed():
                self.notes.append(f"tried {strayed} times to reach a network outside the sandbox")
            job.close()

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
            job.send(rank, order, deadline)
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
        after, sent = job.usage(), job.traffic()
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
                why, code = explain(job, silent, watch.seconds, self._packed.names, self.source, asked)
            else:
                why, code = explain_slow(job, silent, self._allowed, self._packed.names, self.source)
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
        if job.out_of_memory():
            return self._out_of_memory()
        world = len(job.inbox)
        for rank, why in enumerate(job.closed):
            errors = [m for m in job.inbox[rank] if isinstance(m, dict) and "error" in m]
            if why and not errors:
                end = time.perf_counter() + GRACE * self._place.stretch
                job.wait(lambda rank=rank: rank in job.exits, end)
                return StudentError(f"{who([rank], world)} {why}{_exit(job.exits.get(rank))}")
        found = []
        for rank, box in enumerate(job.inbox):
            for message in box:
                error = message.get("error") if isinstance(message, dict) else None
                found.append((_is_echo(error), rank, error))
        told = [entry for entry in found if entry[2] is not None]
        _, rank, error = min(told, key=lambda entry: entry[:2], default=(False, 0, None))
        if not isinstance(error, dict):
            return StudentError("your code answered something else than it was asked")
        kind, message = plain(error.get("type"), 80), plain(error.get("message"), 300)
        if kind == "NotImplementedError" and message.startswith("not implemented yet"):
            return StudentError(message)
        where = ""
        if plain(error.get("file"), 80):
            where = f" at {plain(error['file'], 80)}, line {plain(error.get('line'), 10)}"
        if asks := _asks_the_keyboard(kind, message):
            return StudentError(f"{asks}{where}: nobody sits at the keyboard during a check. {INSTEAD}")
        speaker = f"{who([rank], world)} raised " if world > 1 else "raised "
        return StudentError(
            f"{speaker}{kind}: {message}{where}", yours=plain(error.get("code"), 200), expected="no exception"
        )


def _is_echo(error: Any) -> bool:
    """True for what a rank says when a neighbour is gone."""
    text = error.get("message") if isinstance(error, dict) else ""
    return isinstance(text, str) and any(
        words in text for words in ("Connection closed by peer", "Connection reset", "Broken pipe")
    )


def _asks_the_keyboard(kind: str, message: str) -> str:
    """Return what a submission did that waits for somebody to type, as the exception that came of it tells."""
    if kind == "BdbQuit":
        return "stopped at breakpoint()"
    return "asked for input()" if (kind, message) == ("EOFError", "EOF when reading a line") else ""


def _exit(code: int | None) -> str:
    if code is None:
        return ""
    return f" (killed by signal {code - 128})" if code > 128 else f" (exit code {code})"
