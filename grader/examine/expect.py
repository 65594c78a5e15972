"""The `expect` functions: each holds an answer against the specification, records what it saw, or raises Failed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

from grader.examine.checks import Failed, Line, not_measured, record
from grader.examine.run import PerRank
from grader.examine.shown import kind, short
from grader.later import torch


def expect(condition: bool, why: str, *, yours: Any = "", spec: Any = "", hint: str | None = None) -> None:
    """Fail with the sentence `why` unless `condition` is the Boolean True.

    `hint` takes the place of the check's own here, as it does in every function of this module.
    """
    if condition is not True:
        raise Failed(why, short(yours), short(spec), hint=hint)


def expect_equal(actual: Any, expected: Any, *, of: str = "value", hint: str | None = None) -> None:
    """Fail unless both are of one type and equal (tensors: same shape, dtype and every element).

    The first entry that differs is shown: of tensors, lists and tuples by its place, of mappings by its key.
    """
    if isinstance(expected, torch.Tensor):
        _expect_tensor(actual, expected, of)
        if not torch.equal(actual, expected):
            # Two NaNs differ, as for torch.equal.
            raise _first_of(actual, expected, actual != expected, of, hint)
    elif type(actual := list(actual) if isinstance(actual, PerRank) else actual) is not type(expected):
        raise Failed(
            f"{of} is {kind(actual)}, not {kind(expected)}", short(actual), short(expected), hint=hint
        )
    elif _differ(actual, expected):
        where, one, two = _first_within(actual, expected)
        raise Failed(f"{of} differs from the specification{where}", one, two, hint=hint)
    record(of, "equal")


def expect_close(
    actual: Any,
    expected: Any,
    *,
    atol: float,
    rtol: float = 0.0,
    why: str,
    of: str = "value",
    hint: str | None = None,
) -> None:
    """Fail unless |actual - expected| <= atol + rtol |expected| everywhere; NaN never passes.

    `actual` may be a list of tensors, one per rank, against a list of as many; a `Run`'s `results` also against
    one tensor, which every rank must have. Any other list may be a submission's own, as long as it likes. `why`
    gives the reason for the tolerance. Shapes and dtypes must agree. Numbers are taken as float64 scalars.
    The first entry beyond the bound is shown, and the factor where it is the same everywhere.
    """
    many = isinstance(expected, (list, tuple))
    if isinstance(actual, PerRank) or (many and isinstance(actual, (list, tuple))):
        targets = expected if many else [expected] * len(actual)
        if len(actual) != len(targets):
            raise Failed(f"{of}: {len(actual)} values where {len(targets)} are expected")
        pairs = [
            (one, target, f"{of} of rank {rank}")
            for rank, (one, target) in enumerate(zip(actual, targets, strict=True))
        ]
    else:
        pairs = [(actual, expected, of)]
    bound = f"<= {atol:g}" + (f" + {rtol:g} |x|" if rtol else "")
    worst, failure = 0.0, None
    for one, target, name in pairs:
        error, failure = _compare(one, target, atol, rtol, name, f"{bound} ({why})")
        worst = max(worst, error)
        if failure:
            break
    record(f"largest error, {of}", worst, bound=f"{bound} ({why})")
    if failure:
        failure.hint = hint
        raise failure


def expect_related(
    actual: Any, expected: Any, *, at_least: float = 0.9, of: str = "value", hint: str | None = None
) -> None:
    """Fail unless `actual` has the direction of `expected`: the cosine between them is `at_least` this.

    For a check whose matter is bytes, memory or precision: a factor, or a few wrong entries, cost points where
    values are checked, and not here too; numbers that have nothing to do with the task still fail. Lists, shapes and
    dtypes as in `expect_close`.
    """
    several = isinstance(expected, (list, tuple))
    many = isinstance(actual, PerRank) or (several and isinstance(actual, (list, tuple)))
    answers = list(actual) if many else [actual]
    targets = expected if several else [expected] * (len(answers) if many else 1)
    if len(answers) != len(targets) or not answers:
        raise Failed(f"{of}: {len(answers)} values where {len(targets) or 'some'} are expected", hint=hint)
    worst = 1.0
    for rank, (one, two) in enumerate(zip(answers, targets, strict=True)):
        name = f"{of} of rank {rank}" if many else of
        _expect_tensor(one, two, name)
        here, there = one.double().flatten(), two.double().flatten()
        cosine = float((here @ there) / (here.norm() * there.norm()))
        worst = min(worst, cosine) if math.isfinite(cosine) else -math.inf
        if not cosine >= at_least:
            raise Failed(
                f"{name} has little to do with the specification, so that what was measured says nothing",
                short(one),
                short(two),
                hint=hint,
            )
    record(f"likeness to the specification, {of}", worst, bound=f"at least {at_least:g}; 1 is its direction")


def expect_at_most(value: float, bound: float, *, of: str, hint: str | None = None) -> None:
    """Fail unless `value` is a number no larger than `bound`."""
    value = _number(value, of)
    _expect_bound(value, bound, value <= bound, "at most", of, hint)


def expect_at_least(value: float, bound: float, *, of: str, hint: str | None = None) -> None:
    """Fail unless `value` is a number no smaller than `bound`."""
    value = _number(value, of)
    _expect_bound(value, bound, value >= bound, "at least", of, hint)


def expect_slope_at_most(
    line: Line | None, bound: float, *, fixed: float, of: str, unit: float = 1.0, hint: str | None = None
) -> None:
    """Fail if values grow by more than `bound` per unit of size, or one lies above `fixed + bound * size`.

    A line from `Submission.slope`; None was not measured there, and neither passes nor fails. `fixed`
    is what may be used at size 0. Without it, something large that is held or touched once would flatten the
    line. Slope, `bound` and `fixed` are shown as multiples of `unit`.
    """
    if line is None:
        return
    _expect_bound(line.slope / unit, bound / unit, line.slope <= bound, "at most", of, hint)
    for size, value in zip(line.sizes, line.values, strict=True):
        limit = fixed + bound * size
        whole = f"{of}, times {size:g}, and whatever is held at any size"
        _expect_bound(value / unit, limit / unit, value <= limit, "at most", whole, hint)


def expect_traffic(
    count: int | None,
    unit: float,
    *,
    of: str,
    at_most: float,
    at_least: float | None = None,
    hint: str | None = None,
) -> None:
    """Fail unless bytes or packets from a `Run`, in multiples of `unit`, lie within the bounds.

    None, where this machine cannot count them, neither passes nor fails: the check is *not measured*.
    """
    if count is None:
        not_measured(of, "no network namespaces on this machine; the grader has them")
        return
    if at_least is None or math.isfinite(at_most):
        expect_at_most(count / unit, at_most, of=of, hint=hint)
    if at_least is not None:
        expect_at_least(count / unit, at_least, of=of, hint=hint)


def expect_lines(text: str, lines: Sequence[str], *, of: str = "output") -> None:
    """Fail unless `text` consists of exactly these lines; the first difference is shown."""
    got = text.replace("\r\n", "\n").split("\n")
    if got and got[-1] == "":
        got.pop()
    for number, (one, two) in enumerate(zip(got, lines, strict=False), 1):
        if one != two:
            raise Failed(f"{of}: line {number} differs", short(one), short(two))
    if len(got) < len(lines):
        raise Failed(f"{of} ends after line {len(got)} of {len(lines)}", "(nothing)", short(lines[len(got)]))
    if len(got) > len(lines):
        raise Failed(
            f"{of} has {len(got)} lines where {len(lines)} are expected", short(got[len(lines)]), "(nothing)"
        )
    record(f"lines of {of}", len(lines))


def _compare(
    actual: Any, expected: Any, atol: float, rtol: float, of: str, bound: str
) -> tuple[float, Failed | None]:
    """Return the largest error, and the failure where one is above its bound."""
    if type(actual) in (int, float) and type(expected) in (int, float):
        actual, expected = (torch.tensor(_float(value), dtype=torch.float64) for value in (actual, expected))
    _expect_tensor(actual, expected, of)
    if not expected.numel():
        return 0.0, None
    wide = torch.complex128 if expected.is_complex() else torch.float64
    error = (actual.to(wide) - expected.to(wide)).abs()
    excess = (error - (atol + rtol * expected.to(wide).abs())).nan_to_num(nan=math.inf)
    worst = float(error.nan_to_num(nan=math.inf).max())
    if bool((excess <= 0).all()):
        return worst, None
    beyond = excess > 0
    where, index = _first(beyond)
    told = f" at {index}" if error.dim() else ""
    if (many := int(beyond.sum())) > 1:
        told += f", the first of {many} such entries in {beyond.numel()}"
    if factor := _factor(actual.to(wide), expected.to(wide)):
        told += f": {factor}{' everywhere' if error.numel() > 1 else ''}"
    return worst, Failed(
        f"{of} is off by {float(error.flatten()[where]):.3g}{told}; allowed {bound}",
        short(actual.flatten()[where]),
        short(expected.flatten()[where]),
    )


def _factor(actual: Any, expected: Any) -> str:
    """Return by which one factor all entries differ, in words; empty where there is none, or it is 1.

    One number is always some multiple of another: there, only whole numbers, and their inverses, are worth telling.
    """
    here, there = actual.flatten(), expected.flatten()
    size = (there.abs() ** 2).sum()
    if here.is_complex() or not float(size) or not bool(here.isfinite().all()):
        return ""
    factor = float((here * there).sum() / size)
    if abs(factor - 1) < 1e-3 or not math.isfinite(factor):
        return ""
    if len(here) == 1:
        whole = abs(factor) if abs(factor) > 1 else 1 / abs(factor) if factor else 0.0
        told = 1.5 < whole < 1e4 and abs(whole - round(whole)) < 1e-3 * whole
        return f"{factor:.4g} times the specification" if told else ""
    if float((here - factor * there).abs().max()) > 1e-3 * max(abs(factor), 1e-3) * float(
        (size / len(there)).sqrt()
    ):
        return ""
    if abs(factor) < 1e-6:
        return "zero"
    return (
        f"{factor:.3f} times the specification"
        if 0.1 <= abs(factor) < 1e4
        else f"{factor:.4g} times the specification"
    )


def _first(differs: torch.Tensor) -> tuple[int, list[int]]:
    """Return the place of the first True, in the flattened tensor and as an index."""
    where = int(differs.flatten().to(torch.uint8).argmax())
    return where, [int(i) for i in torch.unravel_index(torch.tensor(where), differs.shape)]


def _first_of(
    actual: torch.Tensor, expected: torch.Tensor, differs: torch.Tensor, of: str, hint: str | None
) -> Failed:
    where, index = _first(differs)
    at = f" at {index}" if differs.dim() else ""
    if (many := int(differs.sum())) > 1:
        at += f", the first of {many} such entries in {differs.numel()}"
    one, two = short(actual.flatten()[where]), short(expected.flatten()[where])
    return Failed(f"{of} differs from the specification{at}", one, two, hint=hint)


def _first_within(actual: Any, expected: Any) -> tuple[str, str, str]:
    """Return where two values of one type begin to differ, as words, and what each has there."""
    if isinstance(expected, (list, tuple)):
        for place, (one, two) in enumerate(zip(actual, expected, strict=False)):
            if _differ(one, two):
                return f" at [{place}]", short(one), short(two)
        return f": it has {len(actual)} entries, not {len(expected)}", short(actual), short(expected)
    if isinstance(expected, dict):
        for key, two in expected.items():
            if key not in actual:
                return f": {short(key)} is missing", "(nothing)", short(two)
            if _differ(actual[key], two):
                return f" at {short(key)}", short(actual[key]), short(two)
        key = next((key for key in actual if key not in expected), "")
        return f": {short(key)} is too much", short(actual.get(key)), "(nothing)"
    return "", short(actual), short(expected)


def _expect_bound(
    value: float, bound: float, holds: bool, words: str, of: str, hint: str | None = None
) -> None:
    record(of, value, bound=f"{words} {_shown(bound)}")
    if holds is not True:
        why = f"{of}: {_shown(value)}, {words} {_shown(bound)} allowed"
        raise Failed(why, _shown(value), f"{words} {_shown(bound)}", hint=hint)


def _shown(value: float) -> str:
    """Return a number with four digits, or all of them where it counts something: one too many must be seen."""
    return f"{value:,.0f}" if abs(value) < 1e15 and value == int(value) else f"{value:.4g}"


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return math.inf if value > 0 else -math.inf


def _number(value: Any, of: str) -> float:
    if value is not None and not isinstance(value, (str, bytes)):
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            return _float(value)
    if value is None:  # what this machine does not measure; no submission's fault
        raise TypeError(f"{of} is None; it was not measured")
    raise Failed(f"{of} is {kind(value)}, not a number", short(value), "a number")


def _differ(actual: Any, expected: Any) -> bool:
    try:
        return bool(actual != expected)
    except RuntimeError:  # a tensor deep within, where the specification has none
        return True


def _expect_tensor(actual: Any, expected: torch.Tensor, of: str) -> None:
    if not isinstance(expected, torch.Tensor):
        raise Failed(f"{of} is {kind(actual)}, not a number", short(actual), short(expected))
    if type(actual) is not torch.Tensor:
        raise Failed(f"{of} is {kind(actual)}, not a tensor", short(actual), kind(expected))
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise Failed(f"{of} has another shape or dtype", kind(actual), kind(expected))
