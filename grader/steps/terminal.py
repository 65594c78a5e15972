"""Reports on the terminal: one submission check by check, a class line by line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from grader.book.results import Graded
    from grader.examine.report import CheckResult, Report

_COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow"}


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


def table(report: Report, title: str, *, for_instructor: bool = False, hints: bool = False) -> Table:
    """Return the table of a report: points, what was measured, yours against the specification.

    `for_instructor` adds how a verdict could be forged, `hints` the hints of what failed.
    """
    result = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_lines=True)
    result.add_column("check", ratio=4, overflow="fold")
    result.add_column("points", justify="right", no_wrap=True)
    result.add_column("what was measured, or why it failed", ratio=5, overflow="fold")
    for check in report.checks:
        colour = _COLOURS.get(check.verdict, "magenta")
        head = f"[bold]{escape(check.item)}[/] {escape(check.name)} [{colour}]{check.verdict}[/]"
        text = f"{head}\n{escape(check.spec)}"
        if check.forgeable and for_instructor:
            text += f"\n[dim]Can be forged: {escape(check.forgeable)}[/]"
        points = f"{number(check.points)} / {number(check.max_points)}"
        result.add_row(text, points, escape("\n".join(explain(check, hints=hints))))
    return result


def explain(check: CheckResult, *, hints: bool = False) -> list[str]:
    """Return the lines beside a verdict: the evidence for a pass, else the reason and both sides; what was printed.

    Hints come on request.
    """
    if check.verdict == "pass":
        lines = measured(check)
    else:
        sides = (("yours", check.yours), ("specification", check.expected))
        lines = [check.why, *(f"{name}: {text}" for name, text in sides if text)]
        if check.hint and hints:
            lines.append(f"hint: {check.hint}")
    return [*lines, *(f"printed: {line}" for line in check.output)]


def further(report: Report, *, hints: bool) -> str:
    """Return a sentence on how to get the hints of what failed, empty where there are none or they are shown."""
    there = [check.item for check in report.checks if check.hint]
    return "" if hints or not there else f"grader check --item {there[0]} --hint gives a hint."


def summary(report: Report, unseen: Iterable[str] = ()) -> str:
    """Return one sentence on the whole: points of the checks that ran, and what else will be graded."""
    best = sum(check.max_points for check in report.checks)
    text = f"{number(report.total)} of {number(best)} points from these checks."
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
        result.add_row(escape(graded.student), points, escape(told))
    return result
