"""How the verdicts on an item look in a notebook: a table for people, and an output that carries the score."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grader.examiner import CheckResult

_WORDS = {
    "pass": "passed",
    "fail": "failed",
    "undecided": "undecided: a person will look at it",
    "error": "the check broke: a person will look at it",
}
_HEADINGS = ("Check", "Verdict", "Points", "Measured", "Yours against the specification")


def rows(checks: Sequence[CheckResult]) -> list[tuple[str, str, str, str, str]]:
    """Return a row per check, as plain text. Of a hidden check nothing shows but its number and verdict."""
    found, hidden = [], 0
    for check in checks:
        points = f"{check.points:g} of {check.max_points:g}"
        if check.hidden:
            hidden += 1
            found.append((f"hidden check {hidden}", _WORDS[check.verdict], points, "", ""))
            continue
        spec = check.spec
        if check.forgeable:
            spec += f" (Decided by evidence from inside your process: {check.forgeable})"
        found.append((spec, _WORDS[check.verdict], points, _measured(check), _difference(check)))
    return found


def _measured(check: CheckResult) -> str:
    parts = []
    for entry in check.measured:
        unit = f" {entry['unit']}" if entry.get("unit") else ""
        bound = f" ({entry['bound']})" if entry.get("bound") else ""
        parts.append(f"{entry['name']}: {entry['value']}{unit}{bound}")
    return "; ".join(parts)


def _difference(check: CheckResult) -> str:
    if check.verdict != "fail":
        return ""
    parts = [check.why]
    if check.yours or check.expected:
        parts.append(f"yours {check.yours}, specification {check.expected}")
    if check.hint:
        parts.append(f"Hint: {check.hint}")
    return ". ".join(part.rstrip(".") for part in parts)


def as_text(checks: Sequence[CheckResult]) -> str:
    """Return the table as plain text, a paragraph per check."""
    paragraphs = []
    for check, verdict, points, measured, difference in rows(checks):
        lines = [f"[{verdict}] {check} ({points})", measured, difference]
        paragraphs.append("\n    ".join(line for line in lines if line))
    return "\n".join(paragraphs)


def as_html(checks: Sequence[CheckResult]) -> str:
    """Return the table as HTML, every text escaped: some of it comes from a submission."""
    # Jupyter aligns the text of tables to the right unless it is told.
    left = ' style="text-align: left"'
    head = "".join(f"<th{left}>{name}</th>" for name in _HEADINGS)
    body = "".join(
        "<tr>" + "".join(f"<td{left}>{html.escape(text)}</td>" for text in row) + "</tr>"
        for row in rows(checks)
    )
    return f'<table class="table table-bordered"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def outputs(checks: Sequence[CheckResult], max_points: float) -> list[dict[str, Any]]:
    """Return the outputs of an item's check cell, by which nbgrader arrives at the points of `checks`.

    nbgrader gives no points for an error, a number of points for a cell that returns that number, and all
    points for anything else.
    """
    table = {"text/plain": as_text(checks), "text/html": as_html(checks)}
    found = [{"output_type": "display_data", "data": table, "metadata": {}}]
    earned = sum(check.points for check in checks)
    if not checks or earned <= 0:
        sentence = f"0 of {max_points:g} points"
        found.append(
            {
                "output_type": "error",
                "ename": "ChecksFailed",
                "evalue": sentence,
                "traceback": [f"ChecksFailed: {sentence}"],
            }
        )
    elif earned < max_points - 1e-9:
        found.append(
            {
                "output_type": "execute_result",
                "data": {"text/plain": f"{earned:.10g}"},
                "metadata": {},
                "execution_count": None,
            }
        )
    return found
