"""The `expect` functions: each holds an answer against the specification, records what it saw, or raises Failed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

from grader.examine.checks import Failed, Line, not_measured, record
from grader.examine.run import PerRank
from grader.later import torch


def expect(condition: bool, why: str, *, yours: Any = "", spec: Any = "") -> None:
    """Fail with the sentence `why` unless `condition` is the Boolean True."""
    if condition is not True:
        raise Failed(why, _short(yours), _short(spec))


def expect_equal(actual: Any, expected: Any, *, of: str = "value") -> None:
    """Fail unless both are of one type and equal (tensors: same shape, dtype and every element)."""
    if isinstance(expected, torch.Tensor):
        _expect_tensor(actual, expected, of)
        if not torch.equal(actual, expected):
            raise Failed(f"{of} differs from the specification", _short(actual), _short(expected))
    elif type(actual) is not type(expected) or _differ(actual, expected):
        raise Failed(f"{of} differs from the specification", _short(actual), _short(expected))
    record(of, "equal")


def expect_close(
    actual: Any, expected: Any, *, atol: float, rtol: float = 0.0, why: str, of: str = "value"
) -> None:
    """Fail unless |actual - expected| <= atol + rtol |expected| everywhere; NaN never passes.

    `actual` may be a list of tensors, one per rank, against a list of as many; a `Run`'s `results` also against
    one tensor, which every rank must have. Any other list may be a submission's own, as long as it likes. `why`
    gives the reason for the tolerance. Shapes and dtypes must agree. Numbers are taken as float64 scalars.
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
        raise failure


def expect_at_most(value: float, bound: float, *, of: str) -> None:
    """Fail unless `value` is a number no larger than `bound`."""
    value = _number(value, of)
    _expect_bound(value, bound, value <= bound, "at most", of)


def expect_at_least(value: float, bound: float, *, of: str) -> None:
    """Fail unless `value` is a number no smaller than `bound`."""
    value = _number(value, of)
    _expect_bound(value, bound, value >= bound, "at least", of)


def expect_slope_at_most(
    line: Line | None, bound: float, *, fixed: float, of: str, unit: float = 1.0
) -> None:
    """Fail if values grow by more than `bound` per unit of size, or one lies above `fixed + bound * size`.

    A line from `Submission.slope`; None was not measured there, and neither passes nor fails. `fixed`
    is what may be used at size 0. Without it, something large that is held or touched once would flatten the
    line. Slope, `bound` and `fixed` are shown as multiples of `unit`.
    """
    if line is None:
        return
    _expect_bound(line.slope / unit, bound / unit, line.slope <= bound, "at most", of)
    for size, value in zip(line.sizes, line.values, strict=True):
        limit = fixed + bound * size
        whole = f"{of}, times {size:g}, and whatever is held at any size"
        _expect_bound(value / unit, limit / unit, value <= limit, "at most", whole)


def expect_traffic(
    count: int | None, unit: float, *, of: str, at_most: float, at_least: float | None = None
) -> None:
    """Fail unless bytes or packets from a `Run`, in multiples of `unit`, lie within the bounds.

    None, where this machine cannot count them, neither passes nor fails: the check is *not measured*.
    """
    if count is None:
        not_measured(of, "no network namespaces on this machine; the grader has them")
        return
    expect_at_most(count / unit, at_most, of=of)
    if at_least is not None:
        expect_at_least(count / unit, at_least, of=of)


def expect_lines(text: str, lines: Sequence[str], *, of: str = "output") -> None:
    """Fail unless `text` consists of exactly these lines; the first difference is shown."""
    got = text.replace("\r\n", "\n").split("\n")
    if got and got[-1] == "":
        got.pop()
    for number, (one, two) in enumerate(zip(got, lines, strict=False), 1):
        if one != two:
            raise Failed(f"{of}: line {number} differs", _short(one), _short(two))
    if len(got) < len(lines):
        raise Failed(f"{of} ends after line {len(got)} of {len(lines)}", "(nothing)", _short(lines[len(got)]))
    if len(got) > len(lines):
        raise Failed(
            f"{of} has {len(got)} lines where {len(lines)} are expected", _short(got[len(lines)]), "(nothing)"
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
    where = int(excess.flatten().argmax())
    index = [int(i) for i in torch.unravel_index(torch.tensor(where), error.shape)]
    return worst, Failed(
        f"{of} is off by {float(error.flatten()[where]):.3g} at {index}; allowed {bound}",
        _short(actual.flatten()[where]),
        _short(expected.flatten()[where]),
    )


def _expect_bound(value: float, bound: float, holds: bool, words: str, of: str) -> None:
    record(of, value, bound=f"{words} {bound:.4g}")
    if holds is not True:
        raise Failed(f"{value:.4g} {of}, {words} {bound:.4g} allowed", f"{value:.4g}", f"{words} {bound:.4g}")


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
    raise Failed(f"{of} is {_kind(value)}, not a number", _short(value), "a number")


def _differ(actual: Any, expected: Any) -> bool:
    try:
        return bool(actual != expected)
    except RuntimeError:  # a tensor deep within, where the specification has none
        return True


def _expect_tensor(actual: Any, expected: torch.Tensor, of: str) -> None:
    if not isinstance(expected, torch.Tensor):
        raise Failed(f"{of} is {_kind(actual)}, not a number", _short(actual), _short(expected))
    if type(actual) is not torch.Tensor:
        raise Failed(f"{of} is {_kind(actual)}, not a tensor", _short(actual), _kind(expected))
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise Failed(f"{of} has another shape or dtype", _kind(actual), _kind(expected))


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _short(value: Any, limit: int = 200) -> str:
    if isinstance(value, torch.Tensor):
        if value.numel() == 1:
            return f"{value.item():.8g}" if value.is_floating_point() else str(value.item())
        head = ", ".join(f"{x:.4g}" for x in value.flatten()[:4].tolist())
        return f"{_kind(value)}: [{head}{', ...' if value.numel() > 4 else ''}]"
    text = value[: limit + 1] if isinstance(value, str) else repr(value)
    # A submission's text is shown on a terminal and in a browser: no escapes, bells or directions of writing.
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."
