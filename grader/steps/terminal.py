"""Reports on the terminal: one submission check by check, a class line by line."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from grader.book.changes import Change
    from grader.book.results import Graded
    from grader.examine.report import CheckResult, Report

SHORT = 3
"""Lines that a submission printed last, where a report is to be short."""

_COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow", "not measured": "yellow", "skipped": "dim"}


def program() -> str:
    """Return how `grader` is called from this folder: by its name, or by its path in an environment not activated."""
    here = Path(sys.executable).with_name("grader")
    if not here.is_file():
        return f"{shlex.quote(sys.executable)} -m grader"
    known = shutil.which("grader")
    if known and Path(known).absolute() == here.absolute():
        return "grader"
    return shlex.quote(min(str(here), os.path.relpath(here), key=len))


def number(value: float) -> str:
    """Return points without needless decimals."""
    return f"{value:.4g}"


def measured(check: CheckResult, limit: int = 3) -> list[str]:
    """Return what a check measured, one short line each; a quantity measured several times stands once."""
    lines = {}
    for entry in check.measured:
        # The reason for a tolerance stands in the notebook's table, where there is room.
        value, unit, bound = entry["value"], entry["unit"], entry["bound"].partition(" (")[0]
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.setdefault(
            entry["name"], f"{entry['name']}: {text}{unit and ' ' + unit}{bound and ', ' + bound}"
        )
    found = list(lines.values())
    return found if len(found) <= limit else [*found[: limit - 1], f"and {len(found) - limit + 1} more"]


def items(report: Report, title: str) -> Group:
    """Return one line per item: its points; of the first check that it lost, the reason and what was printed last.

    Made for 80 columns: no name of an item or a check of common length is broken.
    """
    # A table breaks its own title at the width of its rows, which are narrow where everything passes.
    result = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    result.add_column("item", no_wrap=True)
    result.add_column("points", no_wrap=True)
    result.add_column("what is missing", overflow="fold")
    for item in dict.fromkeys(check.item for check in report.checks):
        checks = [check for check in report.checks if check.item == item]
        lost = [check for check in checks if check.verdict != "pass"]
        colour = _COLOURS.get(lost[0].verdict, "magenta") if lost else "green"
        points = f"[{colour}]{number(report.points(item))}/{number(report.max_points(item))}[/]"
        printed = [f"printed: {line}" for check in lost[:1] for line in check.output[-SHORT:]]
        found = "\n".join(["; ".join(_missing(lost)), *printed])
        result.add_row(f"[bold]{escape(item)}[/]", points, escape(found))
    return Group(Text(title, style="italic"), result)


def _missing(lost: list[CheckResult]) -> list[str]:
    """Return what became of the checks of an item that did not pass: the first one in full, the others as numbers."""
    if not lost:
        return []
    first, *others = lost
    kinds = {kind: [check.verdict for check in others].count(kind) for kind in (c.verdict for c in others)}
    more = [f"{count} more: {'not run' if kind == 'skipped' else kind}" for kind, count in kinds.items()]
    return [
        f"{first.name}, {first.verdict}: {first.why}" if first.why else f"{first.name}, {first.verdict}",
        *more,
    ]


def details(report: Report, title: str, *, for_instructor: bool = False, hints: bool = False) -> Group:
    """Return every check of a report: verdict, points, specification, and what was measured or why it failed.

    `for_instructor` adds how a verdict could be forged, `hints` the hints of what failed.
    """
    blocks: list[Text | Padding] = [Text(title, style="italic")]
    for check in report.checks:
        head = Text(no_wrap=True, overflow="ignore")
        head.append(check.name, style="bold")
        head.append(f"  {check.verdict}", style=_COLOURS.get(check.verdict, "magenta"))
        head.append(f"  {number(check.points)}/{number(check.max_points)}  ({check.item})")
        lines = [(check.spec, "dim")]
        if check.forgeable and for_instructor:
            lines.append((f"Can be forged: {check.forgeable}", "dim"))
        lines += [(line, "") for line in explain(check, hints=hints)]
        blocks += [head, *(Padding(Text(line, style=style), (0, 0, 0, 4)) for line, style in lines)]
    return Group(*blocks)


def explain(check: CheckResult, *, hints: bool = False) -> list[str]:
    """Return the lines beside a verdict: the evidence for a pass, else the reason and both sides; what was printed.

    Hints come on request.
    """
    if check.verdict == "pass":
        lines = measured(check)
    elif check.verdict == "not measured":
        lines = [f"not measured here, no points: {check.why}"]
    else:
        sides = (("yours", check.yours), ("specification", check.expected))
        lines = [check.why, *(f"{name}: {text}" for name, text in sides if text)]
        if check.hint and hints:
            lines.append(f"hint: {check.hint}")
    return [*lines, *(f"printed: {line}" for line in check.output)]


def summary(report: Report, unseen: Iterable[str] = ()) -> str:
    """Return one sentence on the whole: points of the checks that ran, and what else will be graded."""
    best = sum(check.max_points for check in report.checks)
    text = f"{number(report.total)} of {number(best)} points from these checks."
    if report.not_measured:
        text += f" {number(report.not_measured)} were not measured: this machine lacks what it takes."
    if unseen := list(unseen):
        text += f" Hidden checks on other inputs decide the rest of {', '.join(unseen)}."
    return text


def grades(results: Iterable[Graded], title: str) -> Table:
    """Return the table of a class: one line per student, the score and what happened."""
    result = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    result.add_column("student", no_wrap=True)
    result.add_column("points", justify="right", no_wrap=True)
    result.add_column("what happened", ratio=1)
    for graded in results:
        points = f"{number(graded.score)} / {number(graded.max_score)}"
        told = graded.summary() + (" [for a person to settle]" if graded.for_a_person else "")
        result.add_row(escape(graded.shown), points, escape(told))
    return result


MOST_CHANGES = 60
"""Lines of a dry run: those who would lose most, and those who would gain most."""


def would_change(changes: Sequence[Change], title: str) -> Table:
    """Return the table of a dry run: who would lose or gain, and by which verdict; of many the extremes."""
    half, left = MOST_CHANGES // 2, len(changes) - MOST_CHANGES
    result = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("student", "before", "after"):
        result.add_column(column, no_wrap=True, justify="left" if column == "student" else "right")
    result.add_column("what would differ", ratio=1)
    for place, change in enumerate(changes):
        if left > 0 and half <= place < len(changes) - half:
            if place == half:
                result.add_row(f"... {left} more", "", "", "")
            continue
        colour = "red" if change.gain < -1e-9 else "green" if change.gain > 1e-9 else "dim"
        before = "none" if change.before is None else number(change.before)
        told = [*change.what, *["waits for a person"] * change.waits]
        result.add_row(
            escape(change.shown), before, f"[{colour}]{number(change.after)}[/]", escape("; ".join(told))
        )
    return result


def tally(changes: Iterable[Change]) -> list[str]:
    """Return for each verdict that would be another, without its reason, of how many students; the most first."""
    found = Counter(told.partition(": ")[0] for change in changes for told in dict.fromkeys(change.what))
    return [f"{count} x {told}" for told, count in found.most_common()]
