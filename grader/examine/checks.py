"""What a check is: the `check` decorator, what it may raise, and the evidence that it leaves.

A check runs in the examiner, the trusted process. It sends inputs to workers, gets raw tensors and plain
data back, and decides here, with helpers that no submission can reach.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grader.course import MIB, CourseError


class Failed(Exception):
    """The submission does not meet the specification; carries both sides for the table."""

    def __init__(self, why: str, yours: str = "", expected: str = ""):
        super().__init__(why)
        self.why, self.yours, self.expected = why, yours, expected


class StudentError(Failed):
    """The submission raised, exited, ran out of time or memory, or lacks what was asked for."""


class Undecided(Exception):
    """The measurement allows no verdict; a person decides."""


@dataclass(frozen=True)
class Check:
    """One check: what it is worth, how long it may take, and the function that decides."""

    name: str
    item: str
    points: float
    wall: float
    memory: int | None
    hint: str
    forgeable: str
    hidden: bool
    spec: str
    function: Callable[[Any], None] = field(repr=False)


@dataclass
class Evidence:
    """What one check measured so far, in the order in which it was measured, and what it could not measure."""

    measured: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)  # by the reason

    def add(self, name: str, value: float | str, unit: str = "", bound: str = "") -> None:
        if isinstance(value, float):
            value = float(f"{value:.6g}") if math.isfinite(value) else str(value)
        self.measured.append({"name": name, "value": value, "unit": unit, "bound": bound})


@dataclass(frozen=True)
class Line:
    """What was measured at several sizes, and the straight line of least squares through it."""

    sizes: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def slope(self) -> float:
        """By how much the value grows per unit of size."""
        middle = sum(self.sizes) / len(self.sizes)
        weights = [size - middle for size in self.sizes]
        return sum(w * v for w, v in zip(weights, self.values, strict=True)) / sum(w * w for w in weights)


_evidence: contextvars.ContextVar[Evidence] = contextvars.ContextVar("evidence")
_loading: contextvars.ContextVar[tuple[list[Check], bool]] = contextvars.ContextVar("loading")


def check(
    *,
    item: str,
    points: float,
    wall: float = 60,
    memory: int | None = None,
    hint: str = "",
    forgeable: str = "",
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Declare a check of `item`. The docstring is the specification that a student reads.

    `wall` bounds everything the check runs, in seconds. `memory` (MiB) replaces the part's own limit.
    `forgeable` says why evidence from inside the student's process decides here, where nothing better exists.
    """

    def declare(function: Callable[[Any], None]) -> Callable[[Any], None]:
        where, hidden = _loading.get(([], False))
        spec = " ".join((function.__doc__ or "").split())
        if not spec:
            raise CourseError(f"check {function.__name__} has no docstring; write the specification there")
        limit = None if memory is None else memory * MIB
        where.append(
            Check(function.__name__, item, points, wall, limit, hint, forgeable, hidden, spec, function)
        )
        return function

    return declare


def load_checks(path: Path, *, hidden: bool) -> list[Check]:
    """Run the file of checks at `path` and return its checks in the order of definition.

    The file is the course's own, never a submission's. Raises CourseError where it cannot be loaded.
    """
    found: list[Check] = []
    token = _loading.set((found, hidden))
    name = f"_checks_{abs(hash(str(path))):x}"
    try:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("its name does not end in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    except CourseError:
        raise
    except Exception as error:
        raise CourseError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        _loading.reset(token)
        sys.modules.pop(name, None)
    return found


def record(name: str, value: float | str, unit: str = "", bound: str = "") -> None:
    """Add a measured value to the evidence of the check that is running."""
    evidence = _evidence.get(None)
    if evidence is not None:
        evidence.add(name, value, unit, bound)


def not_measured(what: str, why: str) -> None:
    """Record that this machine cannot measure `what`: unless it fails, the check is *not measured*, without points.

    `why` names what the machine lacks. The check goes on: what else it asks for can still fail.
    """
    record(what, f"not measured: {why}")
    evidence = _evidence.get(None)
    if evidence is not None:
        evidence.missing.setdefault(why, []).append(what)


@contextlib.contextmanager
def gather() -> Iterator[Evidence]:
    """Keep apart what is recorded in this block; what is left in it at the end joins the rest, come what may."""
    inner = Evidence()
    token = _evidence.set(inner)
    try:
        yield inner
    finally:
        _evidence.reset(token)
        for entry in inner.measured:
            record(**entry)
        if (outer := _evidence.get(None)) is not None:
            for why, what in inner.missing.items():
                outer.missing.setdefault(why, []).extend(what)
