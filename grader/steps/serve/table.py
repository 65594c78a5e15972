"""Reports as Markdown that a stranger's text cannot leave: for the summary of a CI job."""

from __future__ import annotations

import re
from collections.abc import Sequence

from grader.course import Part
from grader.examine.report import Report
from grader.steps.terminal import number
from grader.text import plain

_LONGEST, _MOST_LINES = 300, 200  # characters in a cell, lines in a table
# What has a meaning in Markdown, in its dialects of GitHub and GitLab, or in HTML: an entity is a letter everywhere.
# But words with underscores, and a colon before a space, mean nothing; `://` and `www.` would become links.
_SIGNS = re.compile(r"(?:(?!:\s)[^\w\s.,;()/=%'\"+?-])|(?<!\w)_|_(?!\w)|(?<=www)\.")


def table(assignment: str, reports: Sequence[tuple[Part, Report]]) -> str:
    """Return the tables of an assignment's parts: items, their points, and the first check that each lost."""
    lines = [f"## {_cell(assignment)}"]
    for part, report in reports:
        best = sum(check.max_points for check in report.checks)
        lines += [
            "",
            f"### Part {part.number}, {_cell(part.title)}: {number(report.total)} of {number(best)} points",
            "",
            "| item | points | what is missing |",
            "|---|---|---|",
        ]
        for item in dict.fromkeys(check.item for check in report.checks):
            lost = [check for check in report.checks if check.item == item and check.verdict != "pass"]
            told = f"{lost[0].name}, {lost[0].verdict}: {lost[0].why}" if lost else ""
            more = f" ({len(lost) - 1} more)" if len(lost) > 1 else ""
            points = f"{number(report.points(item))} of {number(report.max_points(item))}"
            lines.append(f"| {_cell(item)} | {points} | {_cell(told)}{more} |")
        notes = [f"- note: {_cell(note)}" for note in report.notes[:_MOST_LINES]]
        lines += ["", *notes] if notes else []
    lines += ["", "From public checks. Hidden checks on other inputs decide the rest, after the deadline."]
    return "\n".join(lines) + "\n"


def passed(reports: Sequence[tuple[Part, Report]]) -> bool:
    """Return whether every check passed."""
    return all(check.verdict == "pass" for _, report in reports for check in report.checks)


def _cell(text: str) -> str:
    return _SIGNS.sub(lambda sign: f"&#{ord(sign[0])};", plain(text, _LONGEST))
