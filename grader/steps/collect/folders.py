"""Submissions from a folder, or from a zip file of folders or of zip files."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from grader.book.nbgrader_course import NbCourse
from grader.course import CourseError
from grader.steps.collect.archives import unzip
from grader.steps.collect.ours import own_texts
from grader.steps.collect.room import Collected, Refused, Room
from grader.steps.collect.take import check_student, expected_files, take_submission
from grader.text import plain
from grader.tree import is_leftover, walk

MAX_CLASS_FILES = 200_000  # in a zip file with a whole class
MAX_CLASS_BYTES = 16 << 30
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
    name, the date of the folder or zip file counts. Of several submissions by a student the last is taken.
    Raises CourseError where `source` is neither folder nor zip file, or `names` is no such expression.
    """
    course, source = NbCourse.open(course_root), Path(source)
    pattern = _name_pattern(names)
    expected, own = expected_files(course, assignment), own_texts(course, assignment)
    with tempfile.TemporaryDirectory() as scratch:
        if source.is_file():
            source = _open_class(source, Path(scratch))
        if not source.is_dir():
            raise CourseError(f"{source}: neither a folder nor a zip file; name what the students handed in")
        found, results = _by_student(source, pattern)
        for done, (student, (path, timestamp)) in enumerate(sorted(found.items()), 1):
            result = Collected(student, timestamp=timestamp)
            results.append(result)
            take_submission(course, assignment, path, expected, own, result)
            if progress:
                progress(result, done, len(found))
    return sorted(results, key=lambda result: result.student)


def _name_pattern(names: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(names)
    except re.error as error:
        raise CourseError(f"--names {names!r} is no regular expression: {error}") from None
    if "student" not in pattern.groupindex:
        raise CourseError(
            f"--names {names!r} has no group (?P<student>...); say where the student's id stands"
        )
    return pattern


def _open_class(archive: Path, scratch: Path) -> Path:
    try:
        room = Room((), MAX_CLASS_FILES, MAX_CLASS_BYTES, any_name=True)
        unzip(archive, scratch, room)
        if not room.files:
            raise Refused(f"more than {MAX_CLASS_FILES} files or {MAX_CLASS_BYTES >> 30} GiB")
    except Refused as error:
        raise CourseError(f"{archive}: {error}") from None
    inside = [path for path in scratch.iterdir() if not is_leftover(path.name)]
    # A class may be zipped with one folder around it.
    holds_many = len(inside) == 1 and inside[0].is_dir() and len(list(inside[0].iterdir())) > 1
    only_folders = holds_many and all(p.is_dir() or p.suffix == ".zip" for p in inside[0].iterdir())
    return inside[0] if only_folders else scratch


def _by_student(
    source: Path, pattern: re.Pattern[str]
) -> tuple[dict[str, tuple[Path, datetime]], list[Collected]]:
    found: dict[str, tuple[Path, datetime]] = {}
    refused = []
    for path in sorted(source.iterdir()):
        if is_leftover(path.name):
            continue
        is_archive = path.is_file() and path.suffix.lower() == ".zip"
        try:
            if path.is_symlink() or not (path.is_dir() or is_archive):
                raise Refused(f"{plain(path.name, 80)}: neither a folder nor a zip file, not taken")
            student, timestamp = _identify(path, path.stem if is_archive else path.name, pattern)
        except Refused as error:
            refused.append(Collected(plain(path.name, 80), refused=str(error)))
            continue
        if student not in found or found[student][1] <= timestamp:
            found[student] = path, timestamp
    return found, refused


def _identify(path: Path, name: str, pattern: re.Pattern[str]) -> tuple[str, datetime]:
    match = pattern.fullmatch(name)
    if match is None:
        raise Refused(f"{plain(name, 80)}: does not look like {pattern.pattern}; correct --names")
    student = check_student(match["student"])
    if "timestamp" in pattern.groupindex and match["timestamp"]:
        import dateutil.parser

        try:
            timestamp = dateutil.parser.parse(match["timestamp"].replace("_", " "))
        except (ValueError, OverflowError):
            told = f"{plain(name, 80)}: {match['timestamp']!r} is no date"
            raise Refused(f"{told}; correct --names") from None
        return student, timestamp.astimezone(UTC) if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
    inside = walk(path) if path.is_dir() else ()
    times = (os.lstat(os.path.join(top, name)).st_mtime for top, _, names in inside for name in names)
    newest = max(times, default=0)
    return student, datetime.fromtimestamp(newest or path.stat().st_mtime, UTC)
