"""A report for people: a table on the terminal, the same table as HTML in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable

from rich import box
from rich.markup import escape
from rich.table import Table

from grader.examiner import CheckResult, Report

_SIGNS = {"pass": ("pass", "green"), "fail": ("fail", "red"), "undecided": ("undecided", "yellow")}


def number(value: float) -> str:
    """Return points without needless decimals."""
    return f"{value:.4g}"


def measured(check: CheckResult, limit: int = 3) -> list[str]:
    """Return what a check measured, one short line each, the last ones first to go."""
    lines = []
    for entry in check.measured:
        value, unit, bound = entry["value"], entry["unit"], entry["bound"]
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.append(
            f"{entry['name']}: {text}" + (f" {unit}" if unit else "") + (f", {bound}" if bound else "")
        )
    return lines if len(lines) <= limit else [*lines[: limit - 1], f"and {len(lines) - limit + 1} more"]


def table(report: Report, title: str) -> Table:
    """Return the table of a student's check: points, what was measured, yours against the specification."""
    result = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_lines=True)
    result.add_column("item")
    result.add_column("check", ratio=3)
    result.add_column("points", justify="right", no_wrap=True)
    result.add_column("what was measured, or why it failed", ratio=4)
    for check in report.checks:
        sign, colour = _SIGNS.get(check.verdict, (check.verdict, "magenta"))
        lines = [f"[bold]{escape(check.name)}[/] [{colour}]{sign}[/]", escape(check.spec)]
        points = f"{number(check.points)} / {number(check.max_points)}"
        result.add_row(escape(check.item), "\n".join(lines), points, escape("\n".join(explain(check))))
    return result


def explain(check: CheckResult) -> list[str]:
    """Return the lines that stand beside a verdict: evidence for a pass; the reason, both sides and a hint else."""
    if check.verdict == "pass":
        return measured(check)
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
    if unseen := list(unseen):
        text += f" Hidden checks on other inputs decide the rest of {', '.join(unseen)}."
    return text


def to_html(report: Report, title: str) -> str:
    """Return the table as HTML that reads well without styles, every text of a submission escaped."""
    rows = []
    for check in report.checks:
        cells = (
            html.escape(check.item),
            f"<b>{html.escape(check.name)}</b><br>{html.escape(check.spec)}",
            f"<b>{check.verdict}</b>, {number(check.points)} / {number(check.max_points)}",
            "<br>".join(html.escape(line) for line in explain(check)),
        )
        rows.append("<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(
        f"<th style='text-align:left'>{name}</th>" for name in ("item", "check", "points", "evidence")
    )
    return f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{''.join(rows)}</table>"
