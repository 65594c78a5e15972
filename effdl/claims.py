"""Claims: what a lecture says, measured on the spot, with the bound it must meet.

A claim prints its number against the bound. It never stops a student. It says what kind it is: measured (a clock, a
counter, an allocator, a socket of this machine said so), simulated (a seeded model said so) or derived (a theorem, a
formula, an identity). And it says what it depends on: on nothing (bytes, counts, equality), or on the machine
(processor, libraries, cores, load). Three environment variables are for those who run a whole notebook:

- ``EFFDL_STRICT=1``: a claim that does not hold fails the run, if it depends on nothing, or if it held with room to
  spare when a machine of this kind recorded it. Elsewhere a miss is shown and listed, and the run goes on: nobody
  knows yet what this kind of machine does. ``EFFDL_STRICT=anywhere``, for a busy machine, fails only claims that
  depend on nothing;
- ``EFFDL_RECORD=1``: every number goes to the week's ``results/KIND.json``, with machine, versions and date, where
  KIND is :func:`effdl.device.kind`. A word that the kind's name holds (``EFFDL_RECORD=h100``) guards against
  recording on another machine than you thought;
- ``EFFDL_MISSES=FILE``: every claim that does not hold is added to the file, a line of JSON each.

:mod:`effdl.claims_table` collects them.
"""

import html
import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from effdl import device, results
from effdl.notebook import CROSS, TICK, Verdict, publish

NOTHING, MACHINE = "nothing", "machine"
"""What a claim can depend on."""

KINDS = (MEASURED, SIMULATED, DERIVED) = ("measured", "simulated", "derived")
"""Who says so: this machine, a seeded model, a proof."""

HELD, NARROW, MISSED, UNKNOWN = (
    "it held",
    "it held or misses narrowly",
    "it did not hold",
    "nobody has recorded it",
)
"""What is known of a claim on this kind of machine, with these versions of the libraries."""

LONGEST_KEY = 60
CLEAR = 0.1
"""A recorded number that clears its bound by less than this share of it held narrowly: the next run may miss. One
that misses it by less says as little: machines of one kind differ by that much, and one does from hour to hour."""


class ClaimFailed(AssertionError):
    """A claim does not hold, and EFFDL_STRICT asked to be told."""


class ClaimMissedHere(ClaimFailed):
    """A claim that depends on the machine does not hold, although it held on a machine of this kind.

    Load may be the cause: it is worth a second measurement when the machine is quiet.
    """


@dataclass(frozen=True)
class Claim:
    """One claim that was checked: what was measured, the bound, and whether it holds.

    ``kind`` is one of KINDS, ``depends`` is NOTHING or MACHINE; ``before`` says what is known of it on this kind of
    machine: HELD, NARROW, MISSED or UNKNOWN.
    """

    key: str
    text: str
    shown: str
    bound: str
    holds: bool
    kind: str
    depends: str
    before: str


made: list[Claim] = []
"""The claims checked so far in this process, in order."""

_keys: list[str] = []
"""Keys of the claims of the notebook that runs, in order; those of :func:`not_here` too."""


def _valid(key: str) -> str:
    """The key itself. Raises ValueError where it is no short name in words joined by hyphens."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key) or len(key) > LONGEST_KEY:
        raise ValueError(
            f"a claim's key is a short name such as 'ring-sends-least', of small letters, digits and hyphens, "
            f"at most {LONGEST_KEY} in all, not {key!r}"
        )
    return key


def number(value: float, unit: str = "") -> str:
    """A number for a reader: whole ones exact, with thousands separators; others with four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if math.isfinite(value) and abs(value) < 1e15 and (value == int(value) or abs(value) >= 1e4):
        digits = f"{value:,.0f}"
    else:
        digits = f"{value:.4g}"
    return digits + (unit if unit in ("", "x", "%") else f" {unit}")


def _limits(
    expected: Any, rel: float | None, abs_: float | None, at_least: Any, at_most: Any, unit: str
) -> tuple[float, float, str]:
    """The interval that a number must lie in, and its description."""
    if expected is None and at_least is None and at_most is None:
        raise ValueError("a claim needs a bound; give expected=, at_least= or at_most=")
    if expected is None and (rel is not None or abs_ is not None):
        raise ValueError("rel= and abs= are tolerances around a value; give expected= too")
    low, high, words = -math.inf, math.inf, []
    if expected is not None:
        slack = max((rel or 0) * abs(float(expected)), abs_ or 0)
        low, high = float(expected) - slack, float(expected) + slack
        tolerances = ([f"{100 * rel:.3g} %"] if rel else []) + ([number(abs_, unit)] if abs_ else [])
        within = f" within {' or '.join(tolerances)}" if tolerances else ""
        words.append(f"expected {number(expected, unit)}{within}")
    if at_least is not None:
        low = max(low, float(at_least))
        words.append(f"at least {number(at_least, unit)}")
    if at_most is not None:
        high = min(high, float(at_most))
        words.append(f"at most {number(at_most, unit)}")
    return low, high, ", ".join(words)


def claim(
    text: str,
    *,
    key: str,
    kind: str,
    depends: str,
    measured: Any,
    expected: Any = None,
    rel: float | None = None,
    abs: float | None = None,
    at_least: Any = None,
    at_most: Any = None,
    unit: str = "",
    source: str = "",
    if_not: str = "",
    loses: str = "",
    trap: str = "",
) -> Verdict:
    """Show a number against its bound; the verdict is true if the claim holds.

    ``text`` is a sentence, true when the tick is there. ``key`` is the claim's short name in results, the same as in
    :func:`not_here`. ``kind`` is ``"measured"`` where a clock, a counter, an allocator or a socket of this machine
    says so, ``"simulated"`` where a seeded model does, ``"derived"`` where it is a theorem, a formula or an identity.
    ``depends`` is ``"nothing"`` for what must hold on any machine (bytes, counts, equality, an error bound, an order
    of magnitude by construction) and ``"machine"`` for what processor, libraries, cores or load decide.
    ``measured`` is a number, a one-element tensor or a :class:`effdl.bench.Ratio`, whose interval is shown
    too (the verdict is that of its value). ``expected`` without ``rel`` or ``abs`` must be met exactly.
    ``if_not`` is the sentence that tells a reader what a cross means on this machine, ``loses`` says where an
    optimisation is slower or larger than what it replaces, ``trap`` what makes it look better than it is.

    Raises ValueError for a missing bound, another word for ``kind`` or ``depends``, a key that is no short name or is
    used twice in one notebook, and ClaimFailed for a claim that does not hold under EFFDL_STRICT, as the module's
    first lines say.
    """
    if kind not in KINDS:
        raise ValueError(f"a claim is {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {kind!r}: {text}")
    if depends not in (NOTHING, MACHINE):
        raise ValueError(f"a claim depends on {NOTHING!r} or on the {MACHINE!r}, not on {depends!r}: {text}")
    if _strict() not in ("", "0", "1", "anywhere"):
        raise ValueError(f"EFFDL_STRICT={_strict()!r} is none of 1, anywhere and 0")
    low, high, bound = _limits(expected, rel, abs, at_least, at_most, unit)
    value = measured.item() if hasattr(measured, "item") else measured
    value = value if isinstance(value, bool | int) else float(value)
    shown, interval = number(value, unit), None
    if hasattr(measured, "low"):
        interval = [float(measured.low), float(measured.high)]
        shown += f" [{number(interval[0])}, {number(interval[1])}]"
    _valid(key)
    holds = bool(low <= value <= high)
    # What was recorded matters for a miss only: a page whose claims hold reads no file.
    result = Claim(
        key, text, shown, bound, holds, kind, depends, HELD if holds else before(key, value, low, high)
    )
    _once(key, text)
    made.append(result)
    _display(result, source, if_not, [("Loses", loses), ("Trap", trap)])
    _record(
        key,
        text=text,
        kind=kind,
        depends=depends,
        measured=value,
        interval=interval,
        unit=unit,
        bound=bound,
        source=source,
        holds=result.holds,
    )
    if not result.holds:
        _missed(result, if_not)
    return Verdict(result.holds)


def _strict() -> str:
    return os.environ.get("EFFDL_STRICT", "")


def _missed(result: Claim, if_not: str) -> None:
    """List a claim that does not hold; raise under EFFDL_STRICT where that is a failure."""
    if path := os.environ.get("EFFDL_MISSES"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
    strict, words = _strict(), f"{result.text}: measured {result.shown}, {result.bound}. {if_not}".rstrip()
    if strict in ("1", "anywhere") and result.depends == NOTHING:
        raise ClaimFailed(words)
    if strict == "1" and result.before == HELD:
        raise ClaimMissedHere(words)


def misses_in_words(misses: Iterable[Claim]) -> list[str]:
    """Lines for the end of a run: which claims did not hold, and what that means. No line for no miss."""
    lines = []
    headings = {
        UNKNOWN: "not hold on this machine, which nobody has recorded with these versions; `make record` adds it",
        MISSED: "not hold on this machine, as its recorded results say",
        NARROW: "not hold on this machine by less than a tenth, or its recorded results clear the bound by less",
        HELD: "not hold on this machine this time, although recorded results of its kind say so",
    }
    misses = list(misses)
    anywhere = [miss for miss in misses if miss.depends == NOTHING]
    groups = [(anywhere, "not hold and should hold on any machine")]
    groups += [
        ([miss for miss in misses if miss.depends == MACHINE and miss.before == known], heading)
        for known, heading in headings.items()
    ]
    for group, heading in groups:
        if group:
            lines.append(f"{len(group)} {'claim does' if len(group) == 1 else 'claims do'} {heading}:")
            lines += [f"  {CROSS} {miss.text}: {miss.shown} ({miss.bound})" for miss in group]
    return lines


def not_here(
    text: str,
    *,
    key: str,
    needs: str = "a CUDA GPU",
    published: str = "",
    source: str = "",
    unit: str = "",
) -> None:
    """Show what recorded machines measured for a claim that this machine cannot check.

    Use the same ``text`` and ``key`` as the claim. Where no machine has recorded it, say so.
    """
    _valid(key)
    _once(key, text)
    lines = [f"This needs {needs}, which is not here."]
    if published:
        lines.append(f"Published: {published}" + (f" ({source})." if source else "."))
    known = recorded(key)
    for entry in known.values():
        value = number(entry["measured"], entry.get("unit", unit))
        lines.append(f"Recorded on {entry['machine']}: {value}.")
    if not known:
        lines.append(f"Nobody has run this on {needs} yet.")
    escaped = "<br>".join(html.escape(line) for line in lines)
    publish(
        "\n    ".join([f"– {text}", *lines]),
        html=f"<p><b>– Claim not checked here.</b> {html.escape(text)}<br>{escaped}</p>",
    )
    _record(key, text=text, kind=MEASURED, unit=unit, published=published, source=source, needs=needs)


def recorded(key: str) -> dict[str, dict[str, Any]]:
    """What each recorded machine measured for a claim of this week.

    ``{"nvidia-h200": {"measured": 1.7, "interval": [1.6, 1.8], "unit": "x", "machine": "NVIDIA H200", ...}}``;
    a kind of machine that has not run it is not there.
    """
    return results.recorded(_notebook().parent / "results", key)


def before(key: str, value: float, low: float, high: float) -> str:
    """What this kind of machine recorded for a claim that `value` misses: HELD, NARROW, MISSED or UNKNOWN.

    NARROW is a record that clears these bounds by less than CLEAR of them, or a value that misses them by less.
    """
    entry = recorded(key).get(device.kind())
    if entry is None or not results.same_versions(entry["versions"], results.versions()):
        return UNKNOWN
    if not entry["holds"]:
        return MISSED
    if math.isfinite(low) and math.isfinite(high):
        room = (CLEAR * (high - low) / 2,) * 2
    else:
        room = tuple(CLEAR * abs(bound) if math.isfinite(bound) else 0.0 for bound in (low, high))
    cleared = low + room[0] <= entry["measured"] <= high - room[1]
    return HELD if cleared and not low - room[0] <= value <= high + room[1] else NARROW


def _display(result: Claim, source: str, if_not: str, limits: list[tuple[str, str]]) -> None:
    mark, verdict, colour = (
        (TICK, "Claim holds", "#00694b") if result.holds else (CROSS, "Claim does not hold here", "#b3261e")
    )
    bound = result.bound + (f"; source: {source}" if source else "")
    advice = [] if result.holds else [if_not, *_elsewhere(result)]
    advice = [line for line in advice if line]
    known = [f"{word}: {line}" for word, line in limits if line]
    publish(
        "\n    ".join([f"{mark} {result.text}", f"{result.kind} {result.shown}; {bound}", *advice, *known]),
        # GitHub drops the style: the mark and the words say as much as the colour.
        html=f'<p><b style="color:{colour}">{mark} {verdict} ({result.kind}).</b> {html.escape(result.text)}<br>'
        f"<b>{html.escape(result.shown)}</b>; {html.escape(bound)}"
        + "".join(f"<br><i>{html.escape(line)}</i>" for line in advice)
        + "".join(f"<br>{html.escape(line)}" for line in known)
        + "</p>",
    )


def _elsewhere(result: Claim) -> list[str]:
    """What to make of a claim that does not hold here, if the machine decides: what other kinds recorded."""
    if result.depends == NOTHING:
        return []
    marks = [
        f"{number(entry['measured'], entry.get('unit', ''))} {TICK if entry['holds'] else CROSS} "
        f"on {entry['machine']}"
        for entry in recorded(result.key).values()
        if "holds" in entry
    ]
    known = f"; recorded: {', '.join(marks)}" if marks else ", and nobody has recorded it yet"
    return [f"This depends on the machine{known}."]


def _notebook() -> Path:
    """The notebook source that runs, as effdl.build and effdl.run set it."""
    return Path(os.environ.get("EFFDL_NOTEBOOK") or Path.cwd() / "interactive.md")


def _once(key: str, text: str) -> None:
    # A reader of an interactive notebook runs a cell again and again; only a run from top to bottom can
    # tell two claims with one key from one claim run twice.
    if "EFFDL_NOTEBOOK" not in os.environ:
        return
    if key in _keys:
        raise ValueError(
            f"{_notebook().name} makes two claims with the key {key!r} (the second: {text!r}); "
            "give one of them key='...'"
        )
    _keys.append(key)


def _record(key: str, **entry: Any) -> None:
    guard, name = os.environ.get("EFFDL_RECORD", ""), device.kind()
    if guard in ("", "0"):
        return
    if guard != "1" and guard.lower() not in name:
        raise ValueError(
            f"EFFDL_RECORD={guard!r}, but this machine is of the kind {name}; say EFFDL_RECORD=1, or a word of it"
        )
    if "EFFDL_NOTEBOOK" not in os.environ:
        raise ValueError("EFFDL_RECORD works on a whole notebook; use effdl.run or effdl.build, or unset it")
    results.add(_notebook(), name, key, _keys.index(key), entry)
