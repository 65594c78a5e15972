"""How far somebody is with their own copies: what was checked, what is left, and what comes next.

`grader check` keeps what it found in the copy itself, in a file with a dot in front of its name: none is collected.
Nothing here is a grade: whoever owns the copy can write what they like into it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from grader.course import Assignment, CourseError, Part
from grader.steps import workspace
from grader.steps.terminal import number, program

if TYPE_CHECKING:
    from grader.examine.report import CheckResult, Report

KEPT = ".grader-progress.json"
NOT_TRIED, CHANGED, NOTHING, PARTLY, DONE = (
    "not checked yet",
    "changed since",
    "no points yet",
    "partly",
    "done",
)
LARGEST = 1 << 20  # bytes of a record that are read
TO_WRITE = "to write"
"""States of an exercise. A report is "to write" until its author says otherwise: a person reads it."""
FORMAT = "grader progress 1"
"""The first entry of the file that the site's page of progress reads (website/static/progress.js)."""


@dataclass(frozen=True)
class Exercise:
    """One item or report of a copy, as far as it was checked."""

    part: Part
    name: str
    state: str
    worth: float  # points
    earned: float  # points by the checks that ran last, as a share of theirs
    hidden: bool = False  # whether hidden checks ran too
    extra: bool = False

    @property
    def is_report(self) -> bool:
        return self.name in self.part.reports

    @property
    def hours_left(self) -> float:
        """What is left of the hours that the part's statement tells to plan, shared out by points; extras on top."""
        worth = self.part.items | self.part.reports
        whole = sum(points for name, points in worth.items() if name not in self.part.extras)
        return self.part.hours * (self.worth - self.earned) / whole if whole else 0.0


def keep(directory: Path, part: Part, report: Report, *, hidden: bool) -> str:
    """Keep what a report says of each of its items; return a sentence where the copy cannot be written to."""
    try:
        kept = _read(directory)
    except CourseError:
        kept = {}  # what is checked from now on is known again
    passed = {check.name for check in report.checks if check.verdict == "pass"}
    for item in dict.fromkeys(check.item for check in report.checks):
        opened = _opened(kept, part, item)
        kept[_key(part, item)] = {
            "earned": report.points(item),
            "of": report.max_points(item),
            "hidden": hidden,
            "digest": _digest(directory, part, item),
            "hints": {check: hint for check, hint in opened.items() if check not in passed},
        }
    try:
        _write(directory, kept)
    except OSError as error:  # a copy that can only be read is checked all the same
        return f"{KEPT} cannot be written ({error.strerror}); progress and hints will not know of this check"
    return ""


def hints(directory: Path, part: Part, report: Report) -> list[tuple[CheckResult, bool]]:
    """Return the checks that failed with a hint, in order, and whether this very hint was opened before."""
    try:
        kept = _read(directory)
    except CourseError:
        kept = {}
    failed = [check for check in report.checks if check.hint]
    return [(check, _opened(kept, part, check.item).get(check.name) == check.hint) for check in failed]


def open_hint(directory: Path, part: Part, check: CheckResult) -> None:
    """Keep that the hint of a check was opened, until the check passes; call `keep` with its report first."""
    try:
        kept = _read(directory)
        entry = kept.setdefault(_key(part, check.item), {})
        entry["hints"] = _opened(kept, part, check.item) | {check.name: check.hint}
        _write(directory, kept)
    except (CourseError, OSError):
        pass  # `keep` has said that nothing can be kept here


def _opened(kept: dict[str, Any], part: Part, item: str) -> dict[str, str]:
    found = kept.get(_key(part, item), {}).get("hints")
    return found if isinstance(found, dict) else {}


def written(directory: Path, name: str) -> None:
    """Keep that a report is written: its name, or PART/NAME where several parts have one of that name.

    Raises CourseError where the assignment has none of this name, and where it has several.
    """
    assignment = workspace.find(directory)
    there = [(part, report) for part in assignment.parts.values() for report in part.reports]
    meant = [_key(part, report) for part, report in there if name in (report, _key(part, report))]
    if len(meant) > 1:
        raise CourseError(
            f"{name}: {assignment.name} has several reports of this name; say {' or '.join(meant)}"
        )
    if not meant:
        names = ", ".join(_report_name(part, assignment, report) for part, report in there)
        raise CourseError(f"{name} is no report of {assignment.name}; reports: {names or 'none'}")
    kept = _read(directory) | {meant[0]: {"written": True}}
    try:
        _write(directory, kept)
    except OSError as error:
        raise CourseError(f"{directory / KEPT}: cannot be written ({error.strerror})") from None


def _report_name(part: Part, assignment: Assignment, report: str) -> str:
    """Return what `--written` takes: the part's number stands before a name that several parts have."""
    count = sum(report in other.reports for other in assignment.parts.values())
    return _key(part, report) if count > 1 else report


def copies(directory: Path) -> list[Path]:
    """Return the copies of assignments: `directory` itself, or else the folders in it.

    Raises CourseError where there is none.
    """
    if _is_copy(directory):
        return [directory]
    found = [path for path in sorted(directory.glob("*/")) if _is_copy(path)]
    if not found:
        workspace.find(directory)  # says what is the matter
    return found


def exercises(directory: Path) -> tuple[Assignment, list[Exercise]]:
    """Return the assignment of which `directory` is a copy, and its exercises, extras last in each part."""
    assignment, kept = workspace.find(directory), _read(directory)
    found = []
    for part in assignment.parts.values():
        mine = [_exercise(directory, part, name, kept) for name in (*part.items, *part.reports)]
        found += sorted(mine, key=lambda one: one.extra)
    return assignment, found


def following(found: list[Exercise]) -> Exercise | None:
    """Return what comes next: the first exercise that is not done, extras after all others."""
    left = [one for one in found if one.state != DONE]
    return min(left, key=lambda one: one.extra, default=None)


def picture(copy: Path, assignment: Assignment, found: list[Exercise]) -> Group:
    """Return how far somebody is with a copy: points and hours, and a line per exercise."""
    colours = {DONE: "green", PARTLY: "yellow", CHANGED: "yellow"}
    result = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    part = 0
    for one in found:
        if part != one.part.number:
            part = one.part.number
            result.add_row(f"[italic]part {part}[/]", "", f"[italic]{escape(one.part.title)}[/]")
        told = f"[{colours.get(one.state, 'dim')}]{one.state}[/]"
        if one.is_report:
            told += ", and for a person to read"
        elif one.state != NOT_TRIED:
            told += ", hidden checks too" if one.hidden else ", by the public checks"
        points = f"{number(one.earned)}/{number(one.worth)}" + (" extra" if one.extra else "")
        result.add_row(f"[bold]{escape(one.name)}[/]", points, told)
    asked = [one for one in found if not one.extra]
    earned, worth = (sum(getattr(one, name) for one in asked) for name in ("earned", "worth"))
    extra = sum(one.earned for one in found if one.extra)
    head = f"{copy}: {number(earned)} of {number(worth)} points" + (
        f" and {number(extra)} extra" if extra else ""
    )
    if planned := sum(one.hours for one in assignment.parts.values()):
        left = sum(one.hours_left for one in asked)
        told = f"about {_hours(left)} left" if left else "none are left"
        head += f"; of the {planned:g} hours that the texts tell to plan, {told}"
    return Group(Text(head), result)


def as_data(copy: Path) -> dict[str, Any]:
    """Return how far somebody is with a copy, for the site's page: nothing in it names a folder but the command."""
    assignment, found = exercises(copy)
    following_one = following(found)
    sentence, command = advice(copy, assignment, found)
    rows = [
        {
            "part": one.part.number,
            "name": one.name,
            "state": one.state,
            "worth": one.worth,
            "earned": one.earned,
            "hours_left": one.hours_left,
            "report": one.is_report,
            "hidden": one.hidden,
            "extra": one.extra,
            "next": one is following_one,
        }
        for one in found
    ]
    return {
        "assignment": assignment.name,
        "title": assignment.title,
        "hours": sum(part.hours for part in assignment.parts.values()),
        "parts": {str(part.number): part.title for part in assignment.parts.values()},
        "exercises": rows,
        "advice": sentence,
        "command": command,
    }


def write_data(path: Path, folders: list[Path]) -> None:
    """Write the file that is dropped on the site's page of progress."""
    data = {"format": FORMAT, "copies": [as_data(copy) for copy in folders]}
    try:
        path.write_text(json.dumps(data, indent=1), encoding="utf-8")
    except OSError as error:
        raise CourseError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def _hours(value: float) -> str:
    return (
        f"{math.floor(value + 0.5)} hours are"
        if value >= 2
        else f"{max(1, round(value * 6)) * 10} minutes are"
    )


def advice(copy: Path, assignment: Assignment, found: list[Exercise]) -> tuple[str, str]:
    """Return a sentence on what comes next, and the command that follows it; no command where all is done."""
    one = following(found)
    if one is None:
        return "All is done.", ""
    folder = f"--in {shlex.quote(str(copy))}"
    if one.is_report:
        told = f"Next: the report {one.name}, in {one.part.notebook}.ipynb. When it is written:"
        return told, f"{program()} progress --written {_report_name(one.part, assignment, one.name)} {folder}"
    where = one.part.modules.get(one.name, " ".join(one.part.files))
    check = f"{program()} check {one.part.number} --item {one.name} {folder}"
    return f"Next: {one.name}, in {where}. Then:", check


def _exercise(directory: Path, part: Part, name: str, kept: dict[str, Any]) -> Exercise:
    known, extra = kept.get(_key(part, name), {}), name in part.extras
    if name in part.reports:
        worth = part.reports[name]
        is_written = known.get("written") is True
        return Exercise(part, name, DONE if is_written else TO_WRITE, worth, worth * is_written, extra=extra)
    worth = part.items[name]
    share = _share(known)
    if share is None:
        return Exercise(part, name, NOT_TRIED, worth, 0.0, extra=extra)
    state = DONE if share == 1 else PARTLY if share else NOTHING
    if known.get("digest") != _digest(directory, part, name):
        state = CHANGED
    return Exercise(part, name, state, worth, worth * share, known.get("hidden") is True, extra)


def _share(known: dict[str, Any]) -> float | None:
    earned, of = known.get("earned"), known.get("of")
    if not (isinstance(earned, int | float) and isinstance(of, int | float)):
        return None
    try:
        share = earned / of
    except (OverflowError, ZeroDivisionError):
        return None
    return share if 0 <= share <= 1 else None  # nor is it if it is not a number


def _is_copy(path: Path) -> bool:
    try:
        workspace.find(path)
    except CourseError:
        return False
    return True


def _key(part: Part, name: str) -> str:
    return f"{part.number}/{name}"


def _digest(directory: Path, part: Part, item: str) -> str:
    """Return a digest of the files that an item is about; a missing one counts as empty."""
    found = hashlib.sha256()
    for name in [part.modules[item]] if item in part.modules else part.files:
        path = directory / name
        found.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return found.hexdigest()


def _read(directory: Path) -> dict[str, Any]:
    path = directory / KEPT
    try:
        # In somebody else's copy it may be a link to a device, or a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            data = json.loads(file.read(LARGEST))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CourseError(f"{path}: cannot be read ({error}); delete it, and check again") from None
    if not isinstance(data, dict) or not all(isinstance(entry, dict) for entry in data.values()):
        raise CourseError(f"{path}: not what grader check writes; delete it, and check again")
    return data


def _write(directory: Path, kept: dict[str, Any]) -> None:
    aside = directory / f"{KEPT}.new"
    aside.unlink(missing_ok=True)  # in somebody else's copy it may be a link to anywhere
    with open(aside, "x", encoding="utf-8") as file:
        file.write(json.dumps(kept, indent=1, sort_keys=True))
    aside.replace(directory / KEPT)
