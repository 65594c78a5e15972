"""A launch as the examiner sees it: arguments in one block of bytes, a runner on the card, the block come back.

Around every tensor of the block lie random bytes, and where the kernel shall write stands NaN (bytes of 0xFF). All of
it comes back and is looked at here: what was not written is NaN, and who wrote elsewhere is found.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from grader.examine.cards import Card
from grader.examine.checks import Failed, StudentError, TimedOut
from grader.examine.compare import Seconds
from grader.examine.gpu_race import Referee
from grader.examine.job import Job
from grader.examine.kernels.ptx import Kernel
from grader.examine.place import Place
from grader.later import torch
from grader.sandbox import wire
from grader.sandbox.build import Limits, SandboxError
from grader.sandbox.packed import Packed

INSIDE = (Path(__file__).parent / "inside.py").read_text(encoding="utf-8")
FLUSHED = 512 << 20  # bytes that are written before each launch: more than any cache of a card
GAP = 64 << 10  # bytes around a tensor, at least: what a block reaches beyond the end of a row
ALIGNED = 256  # bytes, of every tensor, as CUDA gives memory out
MOST_BLOCK = wire.MAX_BLOBS // 2  # bytes of a launch's tensors with what lies around them
HOST_MEMORY = 4 << 30  # bytes of the runner's process: the block, four times, and the driver's own
LIBRARY = "libcuda.so.1"
BESIDE: dict[str, bytes] = {}  # files that the runner finds beside it, such as a stand-in for that library
_TYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "bool": "i1"}
_TYPES |= {name: name.replace("uint", "u").replace("int", "i") for name in wire.DTYPES if "int" in name}


class Out(NamedTuple):
    """A tensor that a kernel is to fill: it holds NaN (integers: -1, Booleans: True) before, or, with `zero`, 0."""

    shape: Sequence[int]
    dtype: str = "float32"
    zero: bool = False


class Launch(NamedTuple):
    """What a kernel is launched with: tensors, `Out`s, whole numbers and floats (float32), in its own order.

    `grid` are the blocks in up to three directions, `constants` the kernel's `tl.constexpr`s by name. What the check
    leaves open, a function of the student's says: `plan` is its name and what it is called with, and it returns a
    dictionary with some of `grid`, `constants`, `num_warps`, `num_stages`. `warps` is what the compiler is told; a
    text of PTX says its own.
    """

    arguments: Sequence[Any]
    grid: Sequence[int] | None = None
    constants: Mapping[str, int | float | bool] = MappingProxyType({})
    plan: Sequence[Any] = ()
    warps: int | None = None


def settings_of(launch: Launch) -> dict[str, Any]:
    """Return what the check says of what a plan may say."""
    grid = None if launch.grid is None else list(launch.grid)
    told = {"grid": grid, "num_warps": launch.warps, "constants": dict(launch.constants)}
    return {name: value for name, value in told.items() if value is not None}


def fields(launch: Launch) -> list[Any]:
    """Return the fields of a launch as plain data, from which `Launch(*fields)` makes it again."""
    return [list(launch.arguments), launch.grid, dict(launch.constants), list(launch.plan), launch.warps]


class Laid:
    """The tensors of a launch in one block of bytes."""

    def __init__(self, launch: Launch):
        """Lay them out; raises ValueError, TypeError for arguments that no kernel takes."""
        self.kinds: list[str] = []
        self.values: list[
            Any
        ] = []  # of each argument: its number, or the tensor's first byte, shape and dtype
        self.hints: list[int] = []  # the places of arguments that are multiples of 16
        self._outs: list[int] = []
        self.read = self.written = 0  # bytes of tensors that come in, and that go out
        pieces, here = [], 0
        for place, one in enumerate(launch.arguments):
            kind, data, value = _argument(one)
            if data is None and value % 16 == 0 and kind != "fp32":
                self.hints.append(place)
            if data is not None:
                gap = -here % ALIGNED + GAP + ALIGNED * secrets.randbelow(GAP // ALIGNED)
                pieces += [_random(gap), data]
                value = (here + gap, *value)
                self.hints.append(place)
                here += gap + data.numel()
                self.read += 0 if isinstance(one, Out) else data.numel()
                self.written += data.numel() if isinstance(one, Out) else 0
                self._outs += [place] if isinstance(one, Out) else []
            self.kinds.append(kind)
            self.values.append(value)
        if here > MOST_BLOCK:
            raise ValueError(f"the tensors of a launch have {here:,} bytes; {MOST_BLOCK:,} are possible")
        self.block = torch.cat([*pieces, _random(GAP)])

    def outputs(self, back: Any) -> list[torch.Tensor]:
        """Return what the kernel has written, a tensor for each `Out`; raises Failed where it wrote elsewhere too."""
        if not isinstance(back, torch.Tensor) or back.dtype != torch.uint8 or back.shape != self.block.shape:
            raise StudentError("what came back of the launch is not what went there")
        found, here, behind = [], 0, ""
        for place, value in enumerate(self.values):
            if not isinstance(value, tuple):
                continue
            first, shape, dtype = value
            end = first + _bytes(shape, dtype)
            if not torch.equal(back[here:first], self.block[here:first]):
                raise Failed(f"the kernel writes outside its tensors, {behind}before argument {place + 1}")
            if place in self._outs:
                data = back[first:end].clone()
                kind = getattr(torch, dtype)
                found.append((data.ne(0) if kind is torch.bool else data.view(kind)).reshape(shape))
            elif not torch.equal(back[first:end], self.block[first:end]):
                raise Failed(f"the kernel changes argument {place + 1}, which it is only to read")
            here, behind = end, f"behind argument {place + 1} or "
        if not torch.equal(back[here:], self.block[here:]):
            raise Failed("the kernel writes outside its tensors, behind the last one")
        return found


def _argument(one: Any) -> tuple[str, torch.Tensor | None, Any]:
    """Return an argument's kind, its bytes where it is a tensor, and its value, or the tensor's shape and dtype."""
    if isinstance(one, Out):
        if one.dtype not in _TYPES:
            raise ValueError(f"Out has dtype={one.dtype!r}; a kernel takes {', '.join(_TYPES)}")
        shape = [int(length) for length in one.shape]
        data = torch.full((_bytes(shape, one.dtype),), 0 if one.zero else 0xFF, dtype=torch.uint8)
        return f"*{_TYPES[one.dtype]}", data, (shape, one.dtype)
    if isinstance(one, torch.Tensor):
        name = str(one.dtype).removeprefix("torch.")
        if name not in _TYPES:
            raise TypeError(f"a kernel takes no tensor of {name}; it takes {', '.join(_TYPES)}")
        data = one.detach().contiguous().reshape(-1).view(torch.uint8)
        return f"*{_TYPES[name]}", data, (list(one.shape), name)
    if type(one) is int and -(1 << 63) <= one < 1 << 63:
        return "i32" if -(1 << 31) <= one < 1 << 31 else "i64", None, one
    if type(one) is float:
        return "fp32", None, one
    raise TypeError(f"a kernel takes tensors, Out, int and float, no {type(one).__name__}")


def _bytes(shape: Sequence[int], dtype: str) -> int:
    return math.prod(shape) * getattr(torch, dtype).itemsize


def _random(size: int) -> torch.Tensor:
    # Of the kernel's, and of no seed: no verdict depends on them.
    return torch.frombuffer(bytearray(os.urandom(size)), dtype=torch.uint8)


class Runner:
    """A process of ours on the card, with a context of its own, which launches the kernels of one side."""

    def __init__(
        self,
        place: Place,
        card: Card,
        limits: Limits,
        answer: Callable[[Job, str, float], Any],
        deadline: float,
    ):
        """Start it; `answer` waits for a worker's message, see `Contender`. Raises SandboxError without a driver."""
        self._answer, self._numbers = answer, dict[tuple[str, int], int]()
        self._packed = Packed.of({"runner.py": INSIDE.encode(), **BESIDE})
        limits = replace(limits, memory=max(limits.memory, HOST_MEMORY), internet=False)
        self._job = Job(place, self._packed, 1, limits, card=card)
        try:
            order = {"target": "runner:card", "driver": None, "world": 1, "group": False, "heap": ""}
            self._job.send(0, order, deadline)
            try:
                answer(self._job, "ready", deadline)
                self.facts: dict[str, Any] = self._ask(deadline, "begin", LIBRARY, FLUSHED)
            except Failed as error:
                raise SandboxError(f"no kernel can be launched on this GPU: {error.why}") from None
        except BaseException:
            self.close()
            raise

    def launch(self, kernel: Kernel, laid: Laid, deadline: float) -> tuple[Any, float]:
        """Launch once; return the block as it came back, and seconds. Raises StudentError where the kernel breaks."""
        if (key := (kernel.text, kernel.shared)) not in self._numbers:
            loaded = self._ask(deadline, "load", kernel.text, kernel.name, kernel.shared)
            self._numbers[key] = loaded["kernel"]
        given = [
            ("*", value[0]) if isinstance(value, tuple) else (kind, value)
            for kind, value in zip(laid.kinds, laid.values, strict=True)
        ]
        # Triton's compiler adds addresses of memory that no kernel here has asked for.
        given += [("i64", 0)] * kernel.extras
        told = (self._numbers[key], laid.block, given, list(kernel.grid), kernel.threads, kernel.shared)
        found = self._ask(deadline, "launch", *told)
        return found["image"], found["seconds"]

    def close(self) -> None:
        """End the process, and with it the context."""
        self._job.close()
        self._packed.close()

    def _ask(self, deadline: float, what: str, *told: Any) -> dict[str, Any]:
        key = secrets.token_hex(8)
        call = {"args": [what, *told], "kwargs": {}, "in_place": False, "answer": key}
        self._job.send(0, call, deadline)
        try:
            found = self._answer(self._job, key, deadline)
        except TimedOut:
            did = "compile" if what == "load" else "end"
            raise TimedOut(f"the kernel did not {did} in the time that it had") from None
        except Failed as error:
            if self._job.closed[0]:
                raise StudentError("the driver died of the kernel, in a process without your code") from None
            # What breaks there is ours.
            raise RuntimeError(f"the runner of kernels broke: {error.why}") from error
        if "error" in found:
            raise StudentError(f"the driver of the GPU stopped at the kernel: {found['error']}")
        return found


class Racer:
    """One side of a comparison of kernels."""

    def __init__(
        self,
        runner: Runner,
        compiled: Callable[[Launch, Laid, dict[str, Any]], Kernel],
        referee: Referee,
        least: Callable[[Launch], tuple[float, float]] | None,
    ):
        """`compiled(launch, laid, facts)` gives the kernel, `least(launch)` the bytes and operations it needs."""
        self._runner, self._compiled, self._referee, self._least = runner, compiled, referee, least

    def call(self, arguments: Sequence[Any], deadline: float) -> tuple[list[torch.Tensor], Seconds]:
        """Launch with the fields of a `Launch`; return what was written and what it took, see `Contender.call`."""
        launch, begin = Launch(*arguments), time.perf_counter()
        laid = Laid(launch)
        kernel = self._compiled(launch, laid, self._runner.facts)
        deadline += time.perf_counter() - begin  # compiling has a limit of its own
        self._referee.note_clocks()
        back, seconds = self._runner.launch(kernel, laid, deadline)
        if not 0 < seconds < math.inf:
            raise StudentError(f"the clock of the GPU says {seconds} s for a launch, which no launch takes")
        # What is written may still lie in a cache when the kernel has ended.
        moved = laid.read + max(0, laid.written - self._runner.facts["cache"])
        self._referee.require(self._least(launch) if self._least else (moved, 0), seconds)
        return laid.outputs(back), Seconds(seconds, None)

    def close(self) -> None:
        """End the runner."""
        self._runner.close()
