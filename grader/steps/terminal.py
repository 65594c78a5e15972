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

_COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow", "not measured": "yellow"}


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


def table(report: Report, title: str, *, for_instructor: bool = False) -> Table:
    """Return the table of a report: points, what was measured, yours against the specification.

    `for_instructor` adds how a verdict could be forged.
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
        result.add_row(text, points, escape("\n".join(explain(check))))
    return result


def explain(check: CheckResult) -> list[str]:
    """Return the lines beside a verdict: the evidence for a pass, else the reason, both sides and the hint."""
    if check.verdict == "pass":
        return measured(check)
    if check.verdict == "not measured":
        return [f"not measured here, no points: {check.why}"]
    lines = [check.why]
    if check.yours or check.expected:
        lines += [f"yours: {check.yours}", f"specification: {check.expected}"]
    if check.hint:
        lines.append(f"hint: {check.hint}")
    return lines


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
        result.add_row(escape(graded.student), points, escape(told))
    return result
