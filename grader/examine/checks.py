"""What a check is: the `check` decorator, what it may raise, and the evidence that it leaves.

A check runs in the examiner, the trusted process. It sends inputs to workers, gets raw tensors and plain
data back, and decides here, with helpers that no submission can reach.
"""

from __future__ import annotations

import ast
import contextlib
import contextvars
import functools
import importlib.util
import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from grader.course import MIB, CourseError

STAND_INS = {
    "nothing": "functions that do nothing and return None",
    "input": "functions that do nothing and return their first argument",
    "zeros": "answers whose every number is 0",
    "constant": "answers whose every number is 1",
    "cached": "a table of earlier answers: with every seed the inputs are the same",
}
"""What no check may pass unless it says why, by name."""


class Failed(Exception):
    """The submission does not meet the specification; carries both sides for the table.

    `hint` replaces the check's own where the cause is another than the one that the check's hint is about.
    """

    def __init__(self, why: str, yours: str = "", expected: str = "", *, hint: str | None = None):
        super().__init__(why)
        self.why, self.yours, self.expected, self.hint = why, yours, expected, hint


class StudentError(Failed):
    """The submission raised, exited, ran out of time or memory, or lacks what was asked for.

    The check's hint is about wrong answers and would mislead here.
    """


class TimedOut(StudentError):
    """The submission did not answer in time, or stood still: the check's `waiting` is the hint."""


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
    accepts: Mapping[str, str] = field(default_factory=dict)
    waiting: str = ""
    floor: str = ""  # puts the check on the leaderboard

    def hint_for(self, failure: Failed) -> str:
        """Return the hint that fits the cause of a failure; none for a stub, a missing file or an exception."""
        if failure.hint is not None:
            return failure.hint
        if isinstance(failure, StudentError):
            return self.waiting if isinstance(failure, TimedOut) else ""
        return self.hint


@dataclass
class Evidence:
    """What one check measured so far, in the order in which it was measured, and what it could not measure."""

    measured: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)  # by the reason
    told: list[str] = field(default_factory=list)  # what a student may read of a hidden check

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
    waiting: str = "",
    forgeable: str = "",
    accepts: Mapping[str, str] = MappingProxyType({}),
    floor: str = "",
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Declare a check of `item`. The docstring is the specification that a student reads.

    `wall` bounds everything the check runs, in seconds. `memory` (MiB) replaces the part's own limit.
    A student may ask for `hint` where an answer is wrong, for `waiting` where none came in time; what is raised
    or missing speaks for itself. `forgeable` says why evidence from inside the student's process decides here,
    where nothing better exists. `accepts` says which stand-ins (`STAND_INS`) this check may pass, each with the
    reason; a release tries them. `floor` puts a check that compares times, once, on the leaderboard: it is
    `"module:function"` of a file beside the checks, which takes the same inputs and does only what no solution can
    do without.
    """
    if unknown := sorted(accepts.keys() - set(STAND_INS)):
        raise CourseError(f"accepts={unknown}: no such stand-in; there are {', '.join(STAND_INS)}")

    if floor and not re.fullmatch(r"\w+:\w+", floor):
        raise CourseError(f'floor={floor!r}: name a function beside the checks, "module:function"')

    def declare(function: Callable[[Any], None]) -> Callable[[Any], None]:
        where, hidden = _loading.get(([], False))
        spec = " ".join((function.__doc__ or "").split())
        if not spec:
            raise CourseError(f"check {function.__name__} has no docstring; write the specification there")
        limit = None if memory is None else memory * MIB
        where.append(
            Check(
                *(function.__name__, item, points, wall, limit, hint, forgeable, hidden, spec, function),
                accepts=dict(accepts),
                waiting=waiting,
                floor=floor,
            )
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


@functools.cache
def binds(source: str, name: str) -> bool:
    """Return whether Python text gives `name` a meaning at its top level, as far as that can be read off."""
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return True
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for inner in ast.walk(node):
                bound = getattr(inner, "id", "") if isinstance(getattr(inner, "ctx", None), ast.Store) else ""
                if isinstance(inner, ast.alias):
                    bound = inner.asname or inner.name
                elif isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                    bound = inner.name
                if bound in (name, "*"):
                    return True
    return False


def mentions(function: Callable[..., Any], name: str) -> bool:
    """Return whether a function, or one that it reaches by a global name, has the attribute or name `name` in it."""
    seen: set[int] = set()
    waiting: list[Any] = [function]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, types.FunctionType) or id(one) in seen:
            continue
        seen.add(id(one))
        codes = [one.__code__]
        for code in codes:
            codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
            if name in code.co_names:
                return True
            waiting += map(one.__globals__.get, code.co_names)
        waiting.append(inspect.unwrap(one))
    return False


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


def tell(sentence: str) -> None:
    """Let the student read this sentence, although the check is hidden: of it nothing else shows.

    It must say nothing that the statement or the student's own work does not.
    """
    evidence = _evidence.get(None)
    if evidence is not None:
        evidence.told.append(sentence)


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
            outer.told += inner.told
