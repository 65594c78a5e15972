"""How a submission's kernel is asked for, launched and raced: what `Submission.launch` and its sister are made of."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from grader.examine.asking import Asking
from grader.examine.checks import not_measured, record
from grader.examine.compare import Side, race
from grader.examine.gpu_race import Referee
from grader.examine.kernels.launching import INSIDE, Laid, Launch, Racer, Runner, settings_of
from grader.examine.kernels.ptx import Kernel, checked
from grader.sandbox import wire
from grader.sandbox.packed import Packed

if TYPE_CHECKING:
    import torch

NO_CARD = {"capability": 90, "version": ""}  # for what kernels are compiled that no card will run
INTERPRETED = "without a GPU kernels run in Triton's interpreter"
NEEDS_TRITON = "Triton is not installed; its wheels are for Linux (requirements-week07.txt)"


class _NotHere(Exception):
    """This machine can neither compile nor run the kernel; carries why."""


@contextlib.contextmanager
def _here() -> Iterator[None]:
    """Let what this machine can do nothing about be *not measured*."""
    try:
        yield
    except _NotHere as error:
        not_measured("what the kernel computes", str(error))


class Kernels(Asking):
    """What of a submission has to do with kernels, below what authors call."""

    def _launched(self, target: str, launch: Launch, wall: float | None) -> list[torch.Tensor] | None:
        laid = Laid(launch)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_here())
            if self._card is None:
                return self._interpreted(None, target, launch, laid, wall)
            runner = stack.enter_context(contextlib.closing(self._runner()))
            kernel = self._compiled(None, target, wall, launch, laid, runner.facts)
            allowed = self._allow(wall * self._place.stretch if wall else self._wall)
            back, _ = runner.launch(kernel, laid, min(self._deadline, time.perf_counter() + allowed))
            return laid.outputs(back)
        return None

    def _raced(
        self,
        target: str,
        inputs: Callable[[], list[Any]],
        against: str,
        threshold: float,
        verify: Callable[[Any, Any], None],
        least: Callable[[Launch], tuple[float, float]] | None,
        warmup: int,
        wall: float,
    ) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_here())
            beside = stack.enter_context(contextlib.closing(self._beside(against)))
            if self._card is None:
                # Not run: what takes a card a moment takes an interpreter minutes.
                launch = Launch(*inputs())
                self._compiled(None, target, None, launch, Laid(launch), NO_CARD)
                not_measured("speed of the kernel", INTERPRETED)
                return
            told = self._place, self._card, self._limits, self._answer, self._deadline, None
            referee = stack.enter_context(contextlib.closing(Referee(*told)))

            def start(packed: Packed | None, target: str) -> Side:
                return Racer(self._runner(), partial(self._compiled, packed, target, None), referee, least)

            allowed = self._allow(wall * self._place.stretch)
            race(
                *(against, lambda: start(beside, against), lambda: start(None, target)),
                *(inputs, verify, threshold),
                clock="wall",
                cpus=1,
                warmup=warmup,
                wall=allowed,
                deadline=self._deadline,
                weaker="",
            )

    def _runner(self) -> Runner:
        assert self._card is not None  # the caller has looked
        runner = Runner(self._place, self._card, self._limits, self._answer, self._deadline)
        if runner.facts["reaches the host"]:
            # Then its own process is no safe place for what it measures: see INSTRUCTORS.md.
            record("what a kernel can reach on this machine", "memory of the process that launches it (HMM)")
        return runner

    def _compiled(
        self,
        packed: Packed | None,
        target: str,
        wall: float | None,
        launch: Launch,
        laid: Laid,
        facts: dict[str, Any],
    ) -> Kernel:
        """Return the kernel, compiled in a worker with `packed` alone, or with the submission; once for each kind."""
        told = [
            laid.kinds,
            laid.hints,
            settings_of(launch),
            list(launch.plan),
            facts["capability"],
            facts["version"],
        ]
        files = packed or self._packed
        name = f"kernel {hashlib.sha256(wire.encode([target, *told])).hexdigest()}"
        if name not in files.kept:
            if importlib.util.find_spec("triton") is None:
                raise _NotHere(NEEDS_TRITON)
            found = self._in_worker(packed, "driver:compiled", (target, *told), wall)
            if isinstance(found, dict):  # what the check says is not the worker's to change
                found |= {name: value for name, value in told[2].items() if name == "grid"}
                if isinstance(constants := found.get("constants"), dict):
                    found["constants"] = {**constants, **told[2]["constants"]}
            files.kept[name] = checked(found, laid.kinds, facts["capability"])
        return files.kept[name]

    def _interpreted(
        self, packed: Packed | None, target: str, launch: Launch, laid: Laid, wall: float | None
    ) -> list[torch.Tensor]:
        """Compile a kernel all the same, for what the interpreter does not mind, and run it there."""
        kernel = self._compiled(packed, target, wall, launch, laid, NO_CARD)
        if not kernel.interpreted:
            raise _NotHere("a kernel in PTX needs a GPU")
        record("where the kernel ran", "in Triton's interpreter, in the sandbox of its author")
        told = target, laid.block, laid.values, list(kernel.grid), kernel.constants
        return laid.outputs(self._in_worker(packed, "driver:interpreted", told, wall))

    def _in_worker(self, packed: Packed | None, what: str, told: tuple[Any, ...], wall: float | None) -> Any:
        run = self._run(
            *(what, [told], {}, wall),
            world=1,
            group=False,
            in_place=False,
            packed=packed,
            driver=INSIDE,
        )
        return run.result
