"""Submissions from a folder, or from a zip file of folders or of zip files."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from grader.book.nbgrader_course import NbCourse
from grader.course import CourseError
from grader.steps.collect.archives import kind_of_archive, unzip
from grader.steps.collect.dates import parse_date
from grader.steps.collect.layout import find_class, is_submission
from grader.steps.collect.ours import own_texts
from grader.steps.collect.room import Collected, Refused, Room, composed
from grader.steps.collect.take import check_student, expected_files, take_submission
from grader.text import plain
from grader.tree import is_leftover, is_programs_own, summed_up, walk

MAX_CLASS_FILES = 200_000  # in a zip file with a whole class
MAX_CLASS_BYTES = 16 << 30
_TABLES = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
_FIRST_YEAR = 1990  # zip files without dates say 1980, files without 1970
NAMES = r"(?P<student>.+?)"  # how a folder or zip file is named when nobody says otherwise


def collect(
    course_root: Path | str,
    assignment: str,
    source: Path | str,
    *,
    names: str = NAMES,
    progress: Callable[[Collected, int, int], None] | None = None,
) -> list[Collected]:
    """Take the submissions of `assignment` in `source` into submitted/<student>/<assignment>/.

    `source` is a folder with a folder or zip file per student, or a zip file of such. `names` is a regular
    expression for their whole names (without .zip), with a group `student` and possibly `timestamp`; for
    Moodle's `Jane Doe_4711_assignsubmission_file`, `[^_]+_(?P<student>\\d+)_.*`. Without a timestamp in the
    name, the date of the folder or zip file counts; a date in a name is read by `parse_date`. Of several submissions
    by a student the last with files of a kind that is asked for is taken; a note names the others.
    Raises CourseError where `source` is neither folder nor zip file, or `names` is no such expression.
    """
    course, source = NbCourse.open(course_root), Path(source)
    pattern = _name_pattern(names)
    expected, own = expected_files(course, assignment), own_texts(course, assignment)
    with tempfile.TemporaryDirectory() as scratch:
        room, is_zip = Room((), MAX_CLASS_FILES, MAX_CLASS_BYTES, any_name=True), source.is_file()
        if is_zip:
            _open_class(source, Path(scratch), room)
            source = Path(scratch)
        if not source.is_dir():
            raise CourseError(f"{source}: neither a folder nor a zip file; name what the students handed in")
        top, loose = find_class(source, expected, pattern, is_zip=is_zip)
        found, results = _by_student(top, pattern)
        results += [_not_taken(path.name) for path in loose]
        lost = _left_of(room, top.relative_to(source).parts)
        for done, (student, handed_in) in enumerate(sorted(found.items()), 1):
            chosen, passed_over = _choose(handed_in, expected)
            result = Collected(student, timestamp=chosen.timestamp, notes=passed_over)
            for one in handed_in:
                result.notes += lost.pop(one.path.name, [])
            if chosen.timestamp.year < _FIRST_YEAR:
                result.notes.append(
                    f"dated {chosen.timestamp:%Y-%m-%d}, as what holds no dates; have --names read them"
                )
            results.append(result)
            take_submission(course, assignment, chosen.path, expected, own, result)
            if progress:
                progress(result, done, len(found))
    for name, told in lost.items():
        row = next((result for result in results if result.student == plain(name, 80)), None)
        if row is None and told:
            results.append(Collected(plain(name, 80), refused="; ".join(told)))
        elif row:
            row.notes += told
    return sorted(results, key=lambda result: result.student)


def _name_pattern(names: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(composed(names))
    except re.error as error:
        raise CourseError(f"--names {names!r} is no regular expression: {error}") from None
    if "student" not in pattern.groupindex:
        raise CourseError(
            f"--names {names!r} has no group (?P<student>...); say where the student's id stands"
        )
    return pattern


def _open_class(archive: Path, scratch: Path, room: Room) -> None:
    """Unpack a class's zip file; raises CourseError where it cannot be, or is no class's."""
    try:
        if archive.suffix.lower() in _TABLES:
            raise Refused("a spreadsheet; save a table of repositories as CSV in UTF-8")
        unzip(archive, scratch, room)
        if not room.files:
            raise Refused(f"more than {MAX_CLASS_FILES} files or {MAX_CLASS_BYTES >> 30} GiB")
    except Refused as error:
        raise CourseError(f"{archive}: {error}; or name a folder of what the students handed in") from None


def _left_of(room: Room, wrapping: tuple[str, ...]) -> dict[str, list[str]]:
    """Return notes on what of a class's zip file was left out, or read by a guess, by the student's folder.

    `wrapping` are the folders around all students.
    """
    names: dict[str, Room] = {}
    for kind in ("left", "guessed"):
        for name, told in getattr(room, kind).items():
            parts = tuple(part for part in PurePosixPath(name).parts if part != "/")
            own = parts[len(wrapping) :] if parts[: len(wrapping)] == wrapping else parts
            of_student = names.setdefault((own or ("/",))[0], Room(()))
            getattr(of_student, kind)["/".join(own)] = told
    return {student: its.notes() for student, its in names.items()}


def _not_taken(name: str, why: str = "neither a folder nor a zip file, not taken") -> Collected:
    told = plain(name, 80)
    return Collected(told, refused=f"{told}: {why}")


@dataclass(frozen=True)
class _HandedIn:
    """A folder or zip file of a student's."""

    path: Path
    timestamp: datetime


def _by_student(source: Path, pattern: re.Pattern[str]) -> tuple[dict[str, list[_HandedIn]], list[Collected]]:
    found: dict[str, list[_HandedIn]] = {}
    refused = []
    for path in sorted(source.iterdir()):
        if is_programs_own(path.name):
            continue
        try:
            if is_leftover(path.name):
                raise Refused(f"{plain(path.name, 80)}: its name begins with a dot, not taken")
            if not is_submission(path):
                refused.append(_not_taken(path.name, _why_not(path)))
                continue
            student, timestamp = _identify(path, path.name if path.is_dir() else path.stem, pattern)
        except Refused as error:
            refused.append(Collected(plain(path.name, 80), refused=str(error)))
            continue
        found.setdefault(student, []).append(_HandedIn(path, timestamp))
    return found, refused


def _why_not(path: Path) -> str:
    kind = kind_of_archive(path.name)
    why = "neither a folder nor a zip file, not taken"
    return (
        f"{why}; unpack the archive ({kind}) into a folder of that name, or ask for a zip file"
        if kind
        else why
    )


def _choose(handed_in: list[_HandedIn], expected: Collection[str]) -> tuple[_HandedIn, list[str]]:
    """Return which of a student's submissions counts, and notes on the others: the last that has work in it.

    Course systems put a text that was typed into a form beside the files, in a folder of its own.
    """
    if len(handed_in) == 1:
        return handed_in[0], []
    work = {one.path: _holds_work(one.path, expected) for one in handed_in}
    chosen = max(handed_in, key=lambda one: (work[one.path], one.timestamp, one.path.name))
    others = [
        f"{plain(one.path.name, 80)}: not taken, {plain(chosen.path.name, 80)} "
        + (
            "is later"
            if work[one.path] or one.timestamp < chosen.timestamp
            else "has files that are asked for"
        )
        for one in handed_in
        if one is not chosen
    ]
    return chosen, summed_up(others, "submissions of this student, not taken")


def _holds_work(path: Path, expected: Collection[str]) -> bool:
    """Return whether a submission has a file of a kind that is asked for, or an archive, which may have some."""
    endings = {PurePosixPath(name).suffix for name in expected} | {".zip"}
    for _, folders, files in walk(path) if path.is_dir() else ():
        folders[:] = [name for name in folders if not is_leftover(name)]
        names = [name for name in files if not is_leftover(name)]
        if any(PurePosixPath(name).suffix.lower() in endings or kind_of_archive(name) for name in names):
            return True
    return path.is_file()


def _identify(path: Path, name: str, pattern: re.Pattern[str]) -> tuple[str, datetime]:
    match = pattern.fullmatch(composed(name))
    if match is None:
        raise Refused(f"{plain(name, 80)}: does not look like {pattern.pattern}; correct --names")
    student = check_student(match["student"] or "")
    if "timestamp" in pattern.groupindex and match["timestamp"]:
        try:
            return student, parse_date(match["timestamp"])
        except ValueError as error:
            raise Refused(f"{plain(name, 80)}: {plain(str(error), 200)}; correct --names") from None
    times = [0.0]
    for current, folders, files in walk(path) if path.is_dir() else ():
        # What a file manager leaves is as new as its last look.
        folders[:] = [folder for folder in folders if not is_leftover(folder)]
        times += [os.lstat(os.path.join(current, file)).st_mtime for file in files if not is_leftover(file)]
    return student, datetime.fromtimestamp(max(times) or path.stat().st_mtime, UTC)
