"""What a comparison on a GPU needs besides: cold caches, a floor under every time, and the clocks on record.

A worker of ours, on the same card, measures what the card can do, and overwrites its caches before each call: no
side finds there what it has left. Both sides, and this worker, have contexts of their own on the one card that the
part has leased. A time that is less than the card needs to move the bytes, or to do the operations, was not spent on
them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from grader.examine.cards import Card
from grader.examine.checks import Failed, StudentError, record
from grader.examine.compare import Seconds, Side
from grader.examine.job import Job
from grader.examine.place import Place
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed

ON = "cuda"
SHORT_OF = 0.8  # of the floor: a kernel may be so much better than the ones that measure the card
Least = Callable[[Sequence[Any]], tuple[float, float]]

_WORKER = '''
import time

import torch

kept = {}


def wait(on):
    if on == "cuda":
        torch.cuda.synchronize()


def best(run, on, rounds):
    run()
    wait(on)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        wait(on)
        times.append(time.perf_counter() - begin)
    return min(times)


def measure(on, mib, size):
    """Bytes per second of a copy, read and written; operations per second of the fastest matrix product."""
    source = torch.ones(mib << 20, dtype=torch.uint8, device=on)
    target = torch.empty_like(source)
    moved = 2 * source.numel() / best(lambda: target.copy_(source), on, 20)
    fastest = 0.0
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        a = torch.ones(size, size, dtype=dtype, device=on)
        fastest = max(fastest, 2 * size**3 / best(lambda: a @ a, on, 10))
    return {"bytes": moved, "operations": fastest}


def flush(on, mib):
    """Write more than any cache of the card holds."""
    if "block" not in kept:
        kept["block"] = torch.empty(mib << 20, dtype=torch.uint8, device=on)
    kept["block"].add_(1)
    wait(on)


def run(what, on, *sizes):
    return {"measure": measure, "flush": flush}[what](on, *sizes)
'''


class Referee:
    """Our worker on the card of a comparison: cold caches before each call, a floor under its time."""

    def __init__(
        self,
        place: Place,
        card: Card,
        limits: Limits,
        answer: Callable[[Job, str, float], Any],
        deadline: float,
        least: Least | None,
    ):
        """Start the worker and measure the card.

        `answer` waits for a message of a worker, see `Contender`; `least(arguments)` returns the bytes to move and
        the operations to do for one call, at least. Raises RuntimeError where the worker breaks.
        """
        self._card, self._answer, self._deadline, self._least = card, answer, deadline, least
        self._small = 1 if ON == "cuda" else 32  # by how much smaller where no GPU computes
        self._clocks: dict[str, list[int]] = {}
        self._packed = Packed.of({"referee.py": _WORKER.encode()})
        self._job = Job(place, self._packed, 1, limits, card=card)
        try:
            order = {"target": "referee:run", "driver": None, "world": 1, "group": False, "heap": ""}
            self._job.send(0, order, deadline)
            self._heard("ready")
            self.bounds: dict[str, float] = self._ask("measure", 512 // self._small, 4096 // self._small)
        except BaseException:
            self.close()
            raise

    def watch(self, side: Side) -> Side:
        """Return a side whose calls are asked of `side` with cold caches, and must take the time that they need."""
        return _Watched(side, self)

    def before(self) -> None:
        """Overwrite the card's caches, and note its clocks."""
        self._ask("flush", 512 // self._small)
        self.note_clocks()

    def note_clocks(self) -> None:
        """Note the card's clocks."""
        for name, mhz in self._card.clocks().items():
            self._clocks.setdefault(name, []).append(mhz)

    def after(self, arguments: Sequence[Any], wall: float) -> None:
        """Raise StudentError where `wall` seconds are less than the card needs for a call with these arguments."""
        if self._least is not None:
            self.require(self._least(arguments), wall)

    def require(self, least: tuple[float, float], wall: float) -> None:
        """Raise StudentError where `wall` seconds are less than the card needs for so many bytes and operations."""
        moved, operations = least
        floor = max(moved / self.bounds["bytes"], operations / self.bounds["operations"])
        if wall < SHORT_OF * floor:
            raise StudentError(
                f"answered after {1e6 * wall:.0f} µs, and this GPU needs {1e6 * floor:.0f} µs at least for what was "
                "asked: your code did not compute it when it was asked to"
            )

    def close(self) -> None:
        """End the worker, and record between which bounds the card's clocks lay."""
        self._job.close()
        self._packed.close()
        for name, seen in self._clocks.items():
            record(f"clock of the GPU's {name}", f"{min(seen)} to {max(seen)}", "MHz")

    def _ask(self, what: str, *sizes: int) -> Any:
        key = secrets.token_hex(8)
        call = {"args": [what, ON, *sizes], "kwargs": {}, "in_place": False, "answer": key}
        self._job.send(0, call, self._deadline)
        return self._heard(key)

    def _heard(self, key: str) -> Any:
        try:
            return self._answer(self._job, key, self._deadline)
        except Failed as error:
            # Whoever waits here has failed at nothing.
            raise RuntimeError(f"the GPU could not be measured: {error.why}") from error


class _Watched:
    """One side of a comparison on a GPU."""

    def __init__(self, side: Side, referee: Referee):
        self._side, self._referee = side, referee

    def call(self, arguments: Sequence[Any], deadline: float) -> tuple[Any, Seconds]:
        """Return the result of a call and what it took, see `Contender.call`."""
        self._referee.before()
        result, seconds = self._side.call(arguments, deadline)
        self._referee.after(arguments, seconds.wall)
        return result, seconds

    def close(self) -> None:
        """End the worker."""
        self._side.close()
