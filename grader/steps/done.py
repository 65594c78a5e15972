"""How far somebody is with their own copies: what was checked, what is left, and what comes next.

`grader check` keeps what it found in the copy itself, in a file with a dot in front of its name: none is collected.
Nothing here is a grade: whoever owns the copy can write what they like into it.
"""

from __future__ import annotations

import hashlib
import json
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
    from grader.examine.report import Report

KEPT = ".grader-progress.json"
NOT_TRIED, CHANGED, PARTLY, DONE, TO_WRITE = "not checked yet", "changed since", "partly", "done", "to write"
"""States of an exercise. A report is "to write" until its author says otherwise: a person reads it."""


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
    for item in dict.fromkeys(check.item for check in report.checks):
        kept[_key(part, item)] = {
            "earned": report.points(item),
            "of": report.max_points(item),
            "hidden": hidden,
            "digest": _digest(directory, part, item),
        }
    try:
        _write(directory, kept)
    except OSError as error:  # a copy that can only be read is checked all the same
        return f"{KEPT} cannot be written ({error.strerror}); grader progress will not know of this check"
    return ""


def written(directory: Path, name: str) -> None:
    """Keep that a report is written; raises CourseError where the assignment has none of this name."""
    assignment = workspace.find(directory)
    for part in assignment.parts.values():
        if name in part.reports:
            _write(directory, _read(directory) | {_key(part, name): {"written": True}})
            return
    there = ", ".join(report for part in assignment.parts.values() for report in part.reports)
    raise CourseError(f"{name} is no report of {assignment.name}; reports: {there or 'none'}")


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
        elif one.state in colours:
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
        head += f"; of the {planned:g} hours that the texts tell to plan, about {_hours(left)} left"
    return Group(Text(head), result)


def _hours(value: float) -> str:
    return f"{value:.0f} hours are" if value >= 2 else f"{max(1, round(value * 6)) * 10} minutes are"


def advice(copy: Path, found: list[Exercise]) -> str:
    """Return a sentence on what comes next, with the command that checks it."""
    one = following(found)
    if one is None:
        return "All is done."
    folder = f"--in {shlex.quote(str(copy))}"
    if one.is_report:
        return (
            f"Next: the report {one.name}, in {one.part.notebook}.ipynb. When it is written: "
            f"{program()} progress --written {one.name} {folder}"
        )
    where = one.part.modules.get(one.name, " ".join(one.part.files))
    return (
        f"Next: {one.name}, in {where}. Then: {program()} check {one.part.number} --item {one.name} {folder}"
    )


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
    state = DONE if share == 1 else PARTLY
    if known.get("digest") != _digest(directory, part, name):
        state = CHANGED
    return Exercise(part, name, state, worth, worth * share, known.get("hidden") is True, extra)


def _share(known: dict[str, Any]) -> float | None:
    earned, of = known.get("earned"), known.get("of")
    if not (isinstance(earned, int | float) and isinstance(of, int | float) and 0 <= earned <= of and of):
        return None
    return earned / of


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
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CourseError(f"{path}: cannot be read ({error}); delete it, and check again") from None
    if not isinstance(data, dict) or not all(isinstance(entry, dict) for entry in data.values()):
        raise CourseError(f"{path}: not what grader check writes; delete it, and check again")
    return data


def _write(directory: Path, kept: dict[str, Any]) -> None:
    aside = directory / f"{KEPT}.new"
    aside.write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")
    aside.replace(directory / KEPT)
