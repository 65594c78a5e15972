"""A submission as a check sees it: `sub.call`, `sub.ranks`, `sub.slope`, `sub.compare`, `sub.serve`, `sub.suite`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from grader.examine import weaker
from grader.examine.checks import (
    Failed,
    Line,
    StudentError,
    Undecided,
    not_measured,
    record,
)
from grader.examine.compare import Contender, Side, race
from grader.examine.gpu_race import Least, Referee
from grader.examine.job import Job
from grader.examine.kernels.asking import Kernels
from grader.examine.kernels.launching import Launch, fields
from grader.examine.run import Run
from grader.examine.service.race import Rival
from grader.examine.service.serve import Server
from grader.examine.service.stub import Model
from grader.examine.suite.trial import Suite
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Submission(Kernels):
    """What a check is given as `sub`."""

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
                return self._run(
                    target, [args], {}, wall, world=1, group=False, in_place=False, packed=packed
                )
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
        before, self._frees = self._frees, True
        try:
            peaks = [run(size).peak_memory for size in sizes]
        finally:
            self._frees = before
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
        least: Least | None = None,
    ) -> None:
        """Expect `target` to be at least `threshold` times as fast as the reference `against`.

        `against` is `"module:function"` of a file beside the checks. `inputs` is called once per pair and returns
        the arguments of both, with shapes and numbers of its own each time. `verify(result, of_reference)` is
        called for every pair, those of the `warmup` too, which are not timed; it raises Failed by means of
        `expect_close` and the like. Both sides may use `cpus` processors, and `wall` seconds for a call.
        `clock="wall"` judges code that waits (for input, for other processors), where processor time cannot.
        A part with a GPU needs it: both sides have the one card, whose caches are overwritten before each call, and
        `least(arguments)` returns the bytes that a call must move and the operations that it must do: who is faster
        than the card, as it was measured, fails.

        Raises Failed or StudentError where the submission is wrong, breaks or is slower, Undecided where
        60 pairs or the check's own time do not settle it.
        """

        def start(packed: Packed, limits: Limits, target: str, _: Callable[[Job], None]) -> Contender:
            order = {"target": target, "driver": self._driver, "world": 1, "group": False}
            deadline = min(self._deadline, time.perf_counter() + self._allowed)
            return Contender(self._place, packed, limits, order, self._answer, deadline, self._card)

        if self._card is None:
            if least is not None:
                raise ValueError("least= is for a part with a GPU; set gpus = 1 in course.toml")
            self._race(target, against, start, inputs, threshold, verify, warmup, clock, cpus, wall)
            return
        if clock == "cpu":
            raise ValueError(
                'a part with a GPU is compared by clock="wall": who waits for a GPU uses no processor'
            )
        referee = Referee(self._place, self._card, self._limits, self._answer, self._deadline, least)
        with contextlib.closing(referee):
            watched = lambda *told: referee.watch(start(*told))  # noqa: E731
            self._race(target, against, watched, inputs, threshold, verify, warmup, clock, cpus, wall)

    def launch(self, target: str, launch: Launch, *, wall: float | None = None) -> list[torch.Tensor] | None:
        """Launch the kernel `"module:name"`, of Triton or a text of PTX, and return what it wrote to each `Out`.

        The student's sandbox compiles it; a process of ours launches it on the part's GPU, and none of the student's
        is there. Without a GPU Triton's interpreter runs it in the student's sandbox, and None comes where that
        cannot be: the check is then *not measured*. `wall` bounds compiling, and the launch, in seconds. Raises
        StudentError where the kernel is refused or breaks, Failed where it writes to what is not its own.
        """
        self.asked(target, fields(launch))
        self._require(target)
        return self._launched(target, launch, wall)

    def compare_launches(
        self,
        target: str,
        inputs: Callable[[], Launch],
        *,
        against: str,
        threshold: float,
        verify: Callable[[list[torch.Tensor], list[torch.Tensor]], None],
        least: Callable[[Launch], tuple[float, float]] | None = None,
        warmup: int = 2,
        wall: float = 10,
    ) -> None:
        """Expect the kernel `target` to be at least `threshold` times as fast as the kernel `against` on the GPU.

        As `compare`, with one launch a call, each in a context of its own. `inputs` returns a `Launch` with new
        numbers each time; for every other combination of kinds, constants and settings a kernel is compiled.
        `verify(written, by_the_reference)` gets what `launch` returns. `least(launch)` returns the bytes and
        operations that a launch needs; if nothing is said, each tensor that comes in is read once. Without a GPU the
        kernel is compiled, and the check is *not measured*.
        """

        def plain() -> list[Any]:
            told = fields(inputs())
            self.asked(target, told)
            return told

        self._require(target)
        self._raced(target, plain, against, threshold, verify, least, warmup, wall)

    def serve(
        self,
        target: str,
        ports: Sequence[str] = ("port",),
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
        model: Model | None = None,
        ready: float = 30,
    ) -> Server:
        """Call `"module:function"`, which serves until SIGTERM, in one worker: `with sub.serve(...) as server:`.

        Each of `ports` is the name of an argument: the function is called with the number of a free port under that
        name, and listens there on 127.0.0.1 or all addresses. With `model`, it is given a callable of that name, see
        `Model`. Returns when every port accepts connections. Raises StudentError where that is not so after `ready`
        seconds, or as `call` does.
        """
        return self._serve(
            self._packed, self._limits, target, self._let_go, ports, args, kwargs, model, ready
        )

    def compare_servers(
        self,
        target: str,
        inputs: Callable[[], Sequence[Any]],
        *,
        against: str,
        threshold: float,
        verify: Callable[[Any, Any], None],
        ports: Sequence[str] = ("port",),
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
        model: Callable[[], Model] | None = None,
        at: float | Sequence[float] | None = None,
        by: str = "all",
        warmup: int = 2,
        cpus: float = 1,
        wall: float = 10,
        ready: float = 30,
    ) -> None:
        """Expect the server `target` to be at least `threshold` times as fast as the reference's server `against`.

        Both serve as in `serve`, each with a model of its own that `model()` makes. `inputs` is called once per pair
        and returns the questions of both, `Http` or `Grpc`, asked as in `Server.load` (`at`); `verify(answers,
        of_reference)` gets both lists of answers. `by` says what is compared: "all", seconds until all questions are
        answered; "each", the mean latency of a question; "cpu", processor time. While one server is asked the other
        is frozen. The rest is as in `compare`: a question without an answer is a StudentError.
        """
        if by not in ("all", "each", "cpu"):
            raise ValueError(f"by={by!r}; it must be all, each or cpu")

        def start(packed: Packed, limits: Limits, target: str, let_go: Callable[[Job], None]) -> Rival:
            own = model() if model is not None else None
            served = self._serve(packed, limits, target, let_go, ports, args, kwargs, own, ready)
            return Rival(served, at=at, by=by)

        clock = "cpu" if by == "cpu" else "wall"
        self._race(target, against, start, inputs, threshold, verify, warmup, clock, cpus, wall)

    def suite(
        self, tests: str, names: Mapping[str, Sequence[str]], *, wall: float = 6, patience: float = 3
    ) -> Suite:
        """Return the submission's test file `tests`, to be run with pytest against implementations.

        `names` are the public names of each module, which the tests may import: functions of plain data and tensors,
        and constants. The implementation runs in another worker: the tests see what it does and nothing else of it.
        A run may take `wall` seconds, a call `patience`. Raises StudentError where the file is missing.
        """
        self._text(tests)
        return Suite(
            *(self._place, self._limits, self.rng, tests, self._packed.read(tests), names),
            wall=wall,
            patience=patience,
            deadline=self._deadline,
            hear=self._hear_again,
        )

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return `make()`, or what it gave or raised under this name for another check of the same examination.

        For runs that are costly, and from which several checks read. What a killed worker has disturbed, or left
        undecided, is tried once more, and what comes then is kept, whatever it is: a submission that sleeps or kills
        must not hold the grader for as long as there are checks.
        """
        kept, before = self._packed.kept, f"{name}, once before"
        if name not in kept:
            lost = self._place.lost
            try:
                found = make(), None
            except (Failed, Undecided) as error:
                found = None, error
            disturbed = self._place.lost != lost or isinstance(found[1], Undecided)
            kept[before if disturbed and before not in kept else name] = found
            return _given(*found)
        return _given(*kept[name])

    def source(self, name: str) -> str:
        """Return the text of one of the student's files; raises StudentError where it is missing."""
        return self._text(name)

    def note(self, name: str, value: float | str, unit: str = "") -> None:
        """Record something measured without judging it."""
        record(name, value, unit)

    def _hear_again(self, job: Job) -> None:
        self._heard = False
        self._hear(job)

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
        """Start both sides, measure pairs, and judge; see `compare`."""
        self._require(target)
        wall = self._allow(wall * self._place.stretch)
        limits = replace(self._limits, cpus=cpus)
        with contextlib.closing(self._beside(against)) as baseline:
            race(
                *(against, lambda: start(baseline, limits, against, Job.close)),
                lambda: start(self._packed, limits, target, self._let_go),
                *(inputs, verify, threshold),
                clock=clock,
                cpus=cpus,
                warmup=warmup,
                wall=wall,
                deadline=self._deadline,
                weaker="" if self._place.cgroups is not None else weaker.TIME,
            )

    def _serve(
        self,
        packed: Packed,
        limits: Limits,
        target: str,
        let_go: Callable[[Job], None],
        ports: Sequence[str],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        model: Model | None,
        ready: float,
    ) -> Server:
        if packed is self._packed:
            self._require(target)
        self._heard = False
        self._allow(self._wall)
        order = {"target": target, "driver": self._driver, "world": 1, "group": False}
        job = Job(self._place, packed, 1, limits, dialed=True, card=self._card)
        return Server(
            *(job, lambda job: self._start(job, order, self._deadline), self._explain, let_go),
            ports=ports,
            args=args,
            kwargs=kwargs,
            model=model,
            deadline=self._deadline,
            ready=ready,
            stretch=self._place.stretch,
            files=[*packed.names],
            source=self._text,
            asked=self.asked,
        )


def _given(value: Any, error: Failed | Undecided | None) -> Any:
    if error is not None:
        raise error
    return value
