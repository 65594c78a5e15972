"""How the verdicts on an item look in a notebook: a table for people, and an output that carries the score."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grader.examine.report import CheckResult

_WORDS = {
    "pass": "✓ passed",
    "fail": "✗ failed",
    "undecided": "? undecided",
    "error": "? undecided",
    "skipped": "- not run",
    "not measured": "? not measured",
}
_WAITING = {
    "undecided": "The measurement allows no verdict. A person will decide.",
    "error": "The check itself broke. A person will look at it.",
    "not measured": "This machine cannot measure what decides here, so it gives no points. The grader's machine can.",
}
HINT = "Hint"
CARRIER = "verdicts"  # marks the output before those that carry the score
HIDDEN = "The same specification, on inputs that are not published."


@dataclass(frozen=True)
class Row:
    """A check as a student sees it: plain text, some of it from the submission."""

    verdict: str
    points: str
    spec: str
    lines: list[tuple[str, str]]  # a label and what it is: measured, yours, expected, hint, printed


def rows(checks: Sequence[CheckResult]) -> list[Row]:
    """Return a row per check. Of a hidden check nothing shows but its number, verdict and points, and what it tells.

    That a check can be forged, and how, is for the instructor: the class page and `grader examine` say it.
    """
    found, hidden = [], 0
    for check in checks:
        verdict, points = _WORDS[check.verdict], f"{check.points:g} of {check.max_points:g}"
        waiting = [("", _WAITING[check.verdict])] if check.verdict in _WAITING else []
        if check.hidden:
            hidden += 1
            told = [("", sentence) for sentence in check.told]
            found.append(Row(verdict, points, f"Hidden check {hidden}. {HIDDEN}", waiting + told))
        else:
            found.append(Row(verdict, points, check.spec, waiting + _evidence(check)))
    return found


def _evidence(check: CheckResult) -> list[tuple[str, str]]:
    lines = []
    if check.verdict in ("fail", "skipped"):
        lines.append(("Why", check.why))
        sides = (("Yours", check.yours), ("Expected", check.expected), (HINT, check.hint))
        lines += [(label, text) for label, text in sides if text]
    if check.verdict == "not measured":
        lines.append(("Why", check.why))
    measured = dict.fromkeys(_measured(entry) for entry in check.measured)
    lines += [("Measured" if not number else "", text) for number, text in enumerate(measured)]
    return lines + [("Printed" if not number else "", text) for number, text in enumerate(check.output)]


def _measured(entry: dict[str, Any]) -> str:
    unit = f" {entry['unit']}" if entry.get("unit") else ""
    bound = f" ({entry['bound']})" if entry.get("bound") else ""
    return f"{entry['name']}: {entry['value']}{unit}{bound}"


def as_text(checks: Sequence[CheckResult], *, hints: bool = True) -> str:
    """Return the table as plain text, a paragraph per check; nothing folds there, so `hints` may leave them out."""
    paragraphs = []
    for row in rows(checks):
        lines = [f"{row.verdict} ({row.points}): {row.spec}"]
        shown = [(label, text) for label, text in row.lines if hints or label != HINT]
        lines += [f"{label}: {text}" if label else text for label, text in shown]
        paragraphs.append("\n    ".join(lines))
    return "\n".join(paragraphs)


def as_html(checks: Sequence[CheckResult]) -> str:
    """Return the table as HTML, hints folded, every text escaped: some of it comes from a submission."""
    # Jupyter aligns the text of tables to the right unless it is told.
    left = ' style="text-align: left"'
    head = "".join(f"<th{left}>{name}</th>" for name in ("Verdict", "Points", "Check"))
    body = ""
    for row in rows(checks):
        details = "".join(_line(label, html.escape(text)) for label, text in row.lines)
        cells = (
            row.verdict.replace(" ", "&nbsp;"),
            row.points.replace(" ", "&nbsp;"),
            html.escape(row.spec) + details,
        )
        body += "<tr>" + "".join(f"<td{left}>{cell}</td>" for cell in cells) + "</tr>"
    return (
        '<table class="table table-bordered verdicts">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _line(label: str, escaped: str) -> str:
    if label == HINT:
        return f"<details><summary><b>{label}</b></summary>{escaped}</details>"
    return f"<br>{f'<b>{label}:</b> ' if label else ''}{escaped}"


def earned(checks: Sequence[CheckResult], max_points: float) -> float:
    """Return the points that the checks of an item give: all of them where no more than rounding is missing."""
    points = sum(check.points for check in checks)
    return max_points if points >= max_points - 1e-9 else max(0.0, points)


def outputs(checks: Sequence[CheckResult], max_points: float) -> list[dict[str, Any]]:
    """Return the outputs of an item's check cell, by which nbgrader arrives at the points of `checks`.

    nbgrader gives no points for an error, a number of points for a cell that returns that number, and all
    points for anything else.
    """
    table = {"text/plain": as_text(checks), "text/html": as_html(checks)}
    found = [{"output_type": "display_data", "data": table, "metadata": {CARRIER: {}}}]
    points = earned(checks, max_points)
    if not checks or points <= 0:
        sentence = f"0 of {max_points:g} points"
        found.append(
            {
                "output_type": "error",
                "ename": "ChecksFailed",
                "evalue": sentence,
                "traceback": [f"ChecksFailed: {sentence}"],
            }
        )
    elif points < max_points:
        found.append(
            {
                "output_type": "execute_result",
                "data": {"text/plain": f"{points:.10g}"},
                "metadata": {},
                "execution_count": None,
            }
        )
    return found
