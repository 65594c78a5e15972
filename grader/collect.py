"""Brings submissions into the course: from a folder, a zip file (of folders or of zip files), or git.

Everything collected was made by a stranger. Only regular files are taken, under a checked student id and within
limits; what is left out or refused is said in a sentence.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import stat
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from grader.course import CourseError
from grader.nbcourse import NbCourse

MAX_FILES = 2000  # in one submission, as many as a worker is given
MAX_BYTES = 64 << 20  # in one submission
MAX_CLASS_FILES = 200_000  # in a zip file with a whole class
MAX_CLASS_BYTES = 16 << 30
NAMES = r"(?P<student>.+?)"  # how a folder or zip file is named when nobody says otherwise
_STUDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_SKIPPED = {".git", "__pycache__", ".ipynb_checkpoints", ".venv", "venv", "node_modules", "__MACOSX"}
_GIT_SECONDS = 300


class Refused(Exception):
    """A submission, or one file of it, that is not taken; the sentence says why."""


@dataclass
class Collected:
    """What became of one submission."""

    student: str
    files: int = 0
    timestamp: datetime | None = None  # UTC
    notes: list[str] = field(default_factory=list)
    refused: str = ""  # why nothing was taken


# --- from a folder or a zip file ----------------------------------------------------------------------------


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
    expected = _expected_files(course, assignment)
    with tempfile.TemporaryDirectory() as scratch:
        if source.is_file():
            source = _open_class(source, Path(scratch))
        if not source.is_dir():
            raise CourseError(f"{source}: neither a folder nor a zip file; name what the students handed in")
        found, results = _by_student(source, pattern)
        for done, (student, (path, timestamp)) in enumerate(sorted(found.items()), 1):
            result = Collected(student, timestamp=timestamp)
            results.append(result)
            _take(course, assignment, path, expected, result)
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


def _expected_files(course: NbCourse, assignment: str) -> set[str]:
    """Return the names of the notebooks and modules that a submission should hold."""
    expected = {path.name for path in course.path("release", ".", assignment).glob("*.ipynb")}
    expected |= {path.name for path in course.path("source", ".", assignment).glob("*.ipynb")}
    known = course.data.assignments.get(assignment) if course.data else None
    if not expected and known is None:
        raise CourseError(
            f"{assignment}: no notebook in source or release of {course.root}; release it first"
        )
    return expected | {name for part in (known.parts.values() if known else ()) for name in part.files}


def _open_class(archive: Path, scratch: Path) -> Path:
    try:
        unzip(archive, scratch, MAX_CLASS_FILES, MAX_CLASS_BYTES)
    except Refused as error:
        raise CourseError(f"{archive}: {error}") from None
    inside = [path for path in scratch.iterdir() if path.name not in _SKIPPED]
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
        if path.name in _SKIPPED or path.name.startswith("."):
            continue
        is_archive = path.is_file() and path.suffix.lower() == ".zip"
        try:
            if path.is_symlink() or not (path.is_dir() or is_archive):
                raise Refused(f"{path.name}: neither a folder nor a zip file, not taken")
            student, timestamp = _identify(path, path.stem if is_archive else path.name, pattern)
        except Refused as error:
            refused.append(Collected(path.name, refused=str(error)))
            continue
        if student not in found or found[student][1] <= timestamp:
            found[student] = path, timestamp
    return found, refused


def _identify(path: Path, name: str, pattern: re.Pattern[str]) -> tuple[str, datetime]:
    match = pattern.fullmatch(name)
    if match is None:
        raise Refused(f"{name}: does not look like {pattern.pattern}; correct --names")
    student = check_student(match["student"])
    if "timestamp" in pattern.groupindex and match["timestamp"]:
        import dateutil.parser

        try:
            timestamp = dateutil.parser.parse(match["timestamp"].replace("_", " "))
        except (ValueError, OverflowError):
            raise Refused(f"{name}: {match['timestamp']!r} is no date; correct --names") from None
        return student, timestamp.astimezone(UTC) if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
    newest = max((p.lstat().st_mtime for p in (path.rglob("*") if path.is_dir() else ())), default=0)
    return student, datetime.fromtimestamp(newest or path.stat().st_mtime, UTC)


def check_student(name: str) -> str:
    """Return `name` where it can be a student's id; raises Refused for what would be a path or an option."""
    if not _STUDENT.fullmatch(name) or ".." in name:
        raise Refused(f"{name!r} is no student id; use letters, digits and . _ @ + -, at most 64 of them")
    return name


def _take(course: NbCourse, assignment: str, path: Path, expected: set[str], result: Collected) -> None:
    """Copy one submission into the course, or say in `result` why not."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if path.is_file():
                result.notes += unzip(path, Path(scratch), MAX_FILES, MAX_BYTES)
                path = Path(scratch)
            files = list(_files(path, result.notes))
            if len(files) == 1 and files[0][1].suffix.lower() == ".zip":
                # Moodle puts the student's zip file into a folder with the student's name.
                inside = Path(scratch) / "inside"
                result.notes += unzip(files[0][1], inside, MAX_FILES, MAX_BYTES)
                files = list(_files(inside, result.notes))
            top = _top_folder([PurePosixPath(name) for name, _ in files], expected)
            chosen = {
                name: file for name, file in files if top == "." or PurePosixPath(name).is_relative_to(top)
            }
            _install(course, assignment, chosen, top, expected, result)
    except Refused as error:
        result.refused = str(error)


def _files(folder: Path, notes: list[str]) -> Iterator[tuple[str, Path]]:
    total = count = 0
    for current, folders, files in os.walk(folder):
        for name in [name for name in folders if (Path(current) / name).is_symlink()]:
            notes.append(f"{name}: a link to a folder, not taken")
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(files):
            path = Path(current) / name
            relative = path.relative_to(folder).as_posix()
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                notes.append(f"{relative}: a link or a special file, not taken")
                continue
            count, total = count + 1, total + status.st_size
            _check_size(count, total)
            yield relative, path


def _check_size(count: int, total: int, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> None:
    if count > max_files:
        raise Refused(f"more than {max_files} files; hand in what the assignment asks for")
    if total > max_bytes:
        raise Refused(f"more than {max_bytes >> 20} MiB; hand in code and notebooks, no data")


def _top_folder(names: list[PurePosixPath], expected: set[str]) -> str:
    """Return the folder that holds most of the expected files, the shallowest of several."""
    counts: dict[PurePosixPath, int] = {}
    for name in names:
        if name.name in expected:
            counts[name.parent] = counts.get(name.parent, 0) + 1
    if not counts:
        return "."
    return str(max(counts, key=lambda folder: (counts[folder], -len(folder.parts), str(folder))))


def _install(
    course: NbCourse,
    assignment: str,
    chosen: dict[str, Path],
    top: str,
    expected: set[str],
    result: Collected,
) -> None:
    target = course.path("submitted", result.student, assignment)
    if not chosen:
        raise Refused("holds no files")
    if target.exists():
        result.notes.append("replaces an earlier submission")
        shutil.rmtree(target)
    for name, file in chosen.items():
        place = target / PurePosixPath(name).relative_to(top)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    result.files = len(chosen)
    have = {path.name for path in target.iterdir()}
    for name in sorted(expected - have):
        result.notes.append(_missing(name, have))
        released = course.path("release", ".", assignment) / name
        if name.endswith(".ipynb") and released.is_file():
            # nbgrader passes over a submission without notebooks; the modules in it still count.
            shutil.copyfile(released, target / name)
    (target / "timestamp.txt").write_text(f"{result.timestamp:%Y-%m-%d %H:%M:%S} UTC\n")


def _missing(name: str, have: set[str]) -> str:
    stem = Path(name).stem.lower()
    similar = sorted(h for h in have if h.lower().startswith(stem) and Path(h).suffix == Path(name).suffix)
    return f"{name} is missing" + (f"; is it {similar[0]}?" if similar else "")


# --- zip files ----------------------------------------------------------------------------------------------


def unzip(archive: Path, target: Path, max_files: int, max_bytes: int) -> list[str]:
    """Write the regular files of `archive` under `target`; return a sentence for each entry not taken.

    Bytes are counted as they come out, whatever the archive claims. Raises Refused for what is no zip file,
    is encrypted, or exceeds a limit.
    """
    notes, total, count = [], 0, 0
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if entry.is_dir():
                    continue
                if why := _unsafe(entry):
                    notes.append(why)
                    continue
                count += 1
                _check_size(count, total, max_files, max_bytes)
                path = target / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as packed, path.open("wb") as file:
                    while data := packed.read(1 << 20):
                        total += len(data)
                        _check_size(count, total, max_files, max_bytes)
                        file.write(data)
                _set_date(path, entry)
    except (zipfile.BadZipFile, EOFError, zipfile.zlib.error):
        raise Refused(f"{archive.name} is damaged or no zip file; hand it in again") from None
    except (RuntimeError, NotImplementedError) as error:
        raise Refused(f"{archive.name} cannot be unpacked: {error}") from None
    except OSError as error:
        raise Refused(f"{archive.name}: a file name in it cannot be used ({error.strerror})") from None
    return notes


def _unsafe(entry: zipfile.ZipInfo) -> str:
    """Return why this entry is not taken, the empty string where it is."""
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in path.parts[0]:
        return f"{entry.filename!r}: leads out of the folder, not taken"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind and kind != stat.S_IFREG:
        return f"{entry.filename!r}: a link or a special file, not taken"
    return ""


def _set_date(path: Path, entry: zipfile.ZipInfo) -> None:
    try:
        seconds = datetime(*entry.date_time).timestamp()
    except ValueError:
        return  # zip files may say month 0; the date of today then stays
    os.utime(path, (seconds, seconds))


# --- git ----------------------------------------------------------------------------------------------------


def collect_git(
    course_root: Path | str,
    assignment: str,
    repositories: Path | str,
    *,
    deadline: datetime | None = None,
    progress: Callable[[Collected, int, int], None] | None = None,
) -> list[Collected]:
    """Take the last commit before `deadline` of every repository in a CSV file of `student,url` lines.

    `deadline` is the assignment's own where it is None; one without a time zone is UTC. A commit's date is
    what its author's computer said: fetch soon after the deadline. Raises CourseError for a file that is no
    such table, or without any deadline.
    """
    course = NbCourse.open(course_root)
    expected = _expected_files(course, assignment)
    if deadline is None and course.data and assignment in course.data.assignments:
        deadline = course.data.assignments[assignment].deadline
    if deadline is None:
        raise CourseError(f"{assignment} has no deadline in course.toml; give one with --deadline")
    if deadline.tzinfo is None:
        deadline = deadline.replace(tzinfo=UTC)
    lines = _read_repositories(Path(repositories))
    results = []
    for done, (name, url) in enumerate(lines, 1):
        result = Collected(name)
        try:
            result.student = check_student(name)
            with tempfile.TemporaryDirectory() as scratch:
                folder = _checkout(url, deadline, Path(scratch), result)
                _take(course, assignment, folder, expected, result)
        except Refused as error:
            result.refused = str(error)
        results.append(result)
        if progress:
            progress(result, done, len(lines))
    return sorted(results, key=lambda result: result.student)


def _read_repositories(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[field.strip() for field in row] for row in csv.reader(file) if row]
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror}; write a CSV file with lines student,url") from None
    if rows and rows[0][0].lower() in ("student", "student_id"):
        rows = rows[1:]
    for row in rows:
        if len(row) < 2 or not row[1]:
            raise CourseError(f"{path}: the line {','.join(row)!r} is not student,url")
    return [(row[0], row[1]) for row in rows]


def _checkout(url: str, deadline: datetime, scratch: Path, result: Collected) -> Path:
    """Write the files of the last commit before `deadline` to a folder; return it."""
    bare, folder = scratch / "bare", scratch / "files"
    folder.mkdir()
    if url.startswith("-"):
        raise Refused(f"{url!r} is no address of a repository")
    _git("clone", "--quiet", "--bare", "--", url, str(bare))
    inside = ("--git-dir", str(bare))
    commit = _git(*inside, "rev-list", "-1", f"--before={deadline.isoformat()}", "HEAD").strip()
    if not commit:
        raise Refused(f"{url}: no commit before {deadline:%Y-%m-%d %H:%M %Z}")
    seconds = int(_git(*inside, "show", "--no-patch", "--format=%ct", commit).split()[0])
    result.timestamp = datetime.fromtimestamp(seconds, UTC)
    result.notes.append(f"commit {commit[:10]}")
    total = count = 0
    for line in _git(*inside, "ls-tree", "-r", "-l", "-z", commit).split("\0"):
        if not line:
            continue
        (mode, _, blob, size), name = line.split("\t", 1)[0].split(), line.split("\t", 1)[1]
        if mode not in ("100644", "100755") or ".." in PurePosixPath(name).parts:
            result.notes.append(f"{name!r}: a link or a submodule, not taken")
            continue
        count, total = count + 1, total + int(size)
        _check_size(count, total)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            _git(*inside, "cat-file", "blob", blob, into=file)
    return folder


def _git(*arguments: str, into: object = subprocess.PIPE) -> str:
    """Run git without the user's hooks, questions or helper programs; raises Refused with what it says."""
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", *arguments]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    try:
        done = subprocess.run(
            command,
            check=True,
            stdout=into,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=_GIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"git {arguments[0]} took more than {_GIT_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Refused(f"git says: {told[-1] if told else error}") from None
    return (done.stdout or b"").decode("utf-8", "surrogateescape")
