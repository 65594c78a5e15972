"""Brings submissions into the course: from a folder, a zip file (of folders or of zip files), or git.

Everything collected was made by a stranger. Only regular files are taken, under a checked student id and within
limits; what is left out or refused is said in a sentence.
"""

from __future__ import annotations

import csv
import lzma
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from grader.course import CourseError
from grader.evidence import shown
from grader.nbcourse import NbCourse
from grader.rebuild import LARGE_NOTEBOOK, without_outputs
from grader.tree import MAX_BYTES, MAX_DEPTH, MAX_FILES, MAX_NOTEBOOK, left_out, summed_up, walk

MAX_CLASS_FILES = 200_000  # in a zip file with a whole class
MAX_CLASS_BYTES = 16 << 30
NAMES = r"(?P<student>.+?)"  # how a folder or zip file is named when nobody says otherwise
_STUDENT = re.compile(r"[^\W_][\w.@+-]{0,63}")  # letters and digits of any script
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
        room = Room((), MAX_CLASS_FILES, MAX_CLASS_BYTES)
        unzip(archive, scratch, room)
        if not room.files:
            raise Refused(f"more than {MAX_CLASS_FILES} files or {MAX_CLASS_BYTES >> 30} GiB")
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
                raise Refused(f"{shown(path.name, 80)}: neither a folder nor a zip file, not taken")
            student, timestamp = _identify(path, path.stem if is_archive else path.name, pattern)
        except Refused as error:
            refused.append(Collected(shown(path.name, 80), refused=str(error)))
            continue
        if student not in found or found[student][1] <= timestamp:
            found[student] = path, timestamp
    return found, refused


def _identify(path: Path, name: str, pattern: re.Pattern[str]) -> tuple[str, datetime]:
    match = pattern.fullmatch(name)
    if match is None:
        raise Refused(f"{shown(name, 80)}: does not look like {pattern.pattern}; correct --names")
    student = check_student(match["student"])
    if "timestamp" in pattern.groupindex and match["timestamp"]:
        import dateutil.parser

        try:
            timestamp = dateutil.parser.parse(match["timestamp"].replace("_", " "))
        except (ValueError, OverflowError):
            told = f"{shown(name, 80)}: {match['timestamp']!r} is no date"
            raise Refused(f"{told}; correct --names") from None
        return student, timestamp.astimezone(UTC) if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
    inside = walk(path) if path.is_dir() else ()
    times = (os.lstat(os.path.join(top, name)).st_mtime for top, _, names in inside for name in names)
    newest = max(times, default=0)
    return student, datetime.fromtimestamp(newest or path.stat().st_mtime, UTC)


def check_student(name: str) -> str:
    """Return `name`, composed (NFC), where it can be a student's id; raises Refused for a path or an option."""
    name = unicodedata.normalize("NFC", name)
    if not _STUDENT.fullmatch(name) or ".." in name or len(os.fsencode(name)) > 200:
        told = shown(name, 80)
        raise Refused(f"{told!r} is no student id; use letters, digits and . _ @ + -, at most 64 of them")
    return name


def _take(course: NbCourse, assignment: str, path: Path, expected: set[str], result: Collected) -> None:
    """Copy one submission into the course, or say in `result` why not."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if path.is_file():
                result.notes += unzip(path, Path(scratch), Room(expected))
                path = Path(scratch)
            files = _files(path, expected, result.notes)
            if len(files) == 1 and next(iter(files)).lower().endswith(".zip"):
                # Moodle puts the student's zip file into a folder with the student's name.
                inside = Path(scratch) / "inside"
                result.notes += unzip(*files.values(), inside, Room(expected))
                files = _files(inside, expected, result.notes)
            _install(course, assignment, files, expected, result)
    except Refused as error:
        result.refused = str(error)


def _files(folder: Path, expected: set[str], notes: list[str]) -> dict[str, Path]:
    """Return the regular files under `folder` by their relative names, what is expected first, within limits."""
    found, special = [], []
    for current, folders, files in walk(folder):
        for name in [*folders, *files]:
            path = Path(current, name)
            status = path.lstat()
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISREG(status.st_mode):
                found.append((relative, status.st_size))
            elif not stat.S_ISDIR(status.st_mode):
                special.append(f"{shown(relative, 80)}: a link or a special file, not taken")
        folders[:] = [name for name in folders if name not in _SKIPPED]
    notes += summed_up(special, "links or special files, not taken")
    room, chosen = Room(expected), {}
    for relative, size in sorted(found, key=lambda item: _order(item[0], expected)):
        if room.take(relative, size):
            chosen[relative] = folder / relative
    notes += left_out(room.refused)
    return chosen


def _order(name: str, expected: Collection[str]) -> tuple[bool, int, str]:
    """Return by what a file comes before others: being expected, lying high, its name."""
    path = PurePosixPath(name)
    return path.name not in expected, len(path.parts), name


class Room:
    """What is left of the limits of one submission."""

    def __init__(self, expected: Collection[str], files: int = MAX_FILES, size: int = MAX_BYTES):
        self.expected, self.files, self.size, self.refused = expected, files, size, 0

    def most(self, name: str) -> int:
        """Return how many bytes this file may have."""
        return MAX_NOTEBOOK if self._is_notebook(name) else self.size

    def take(self, name: str, size: int) -> bool:
        """Account for a file of `size` bytes; return whether there was room for it."""
        if not self.files or size > self.most(name):
            self.refused += 1
            return False
        self.files -= 1
        # A notebook's outputs are not what the limit is about: large ones are dropped.
        self.size -= 0 if self._is_notebook(name) else size
        return True

    def _is_notebook(self, name: str) -> bool:
        return name.endswith(".ipynb") and PurePosixPath(name).name in self.expected


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
    course: NbCourse, assignment: str, files: dict[str, Path], expected: set[str], result: Collected
) -> None:
    target = course.path("submitted", result.student, assignment)
    top = _top_folder([PurePosixPath(name) for name in files], expected)
    chosen = {
        str(PurePosixPath(name).relative_to(top)): file
        for name, file in files.items()
        if top == "." or PurePosixPath(name).is_relative_to(top)
    }
    for name in sorted(expected - chosen.keys()):
        elsewhere = [other for other in files if PurePosixPath(other).name == name]
        if len(elsewhere) == 1:
            chosen[name] = files[elsewhere[0]]
            result.notes.append(f"{name} was taken from {shown(elsewhere[0], 80)}")
    if not chosen:
        raise Refused("holds no files")
    if target.exists():
        result.notes.append("replaces an earlier submission")
        shutil.rmtree(target)
    failed = [name for name, file in chosen.items() if not _put(file, target / name, result.notes)]
    result.notes += summed_up(
        [f"{shown(name, 80)}: its name cannot be used, not taken" for name in failed], "such names"
    )
    result.files = len(chosen) - len(failed)
    have = {path.name for path in target.iterdir() if path.is_file()}
    for name in sorted(expected - have):
        result.notes.append(_missing(name, have))
        released = course.path("release", ".", assignment) / name
        if name.endswith(".ipynb") and released.is_file() and not (target / name).exists():
            # nbgrader passes over a submission without notebooks; the modules in it still count.
            shutil.copyfile(released, target / name)
    (target / "timestamp.txt").write_text(f"{result.timestamp:%Y-%m-%d %H:%M:%S} UTC\n")


def _put(file: Path, place: Path, notes: list[str]) -> bool:
    """Copy one file, a large notebook without its outputs; return False where it cannot have that name."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        size = file.stat().st_size
        if place.suffix == ".ipynb" and size > LARGE_NOTEBOOK:
            place.write_bytes(without_outputs(file))
            notes.append(f"{shown(place.name, 80)}: {size >> 20} MiB, its outputs were dropped")
        else:
            shutil.copyfile(file, place)
    except ValueError as error:
        notes.append(f"{shown(place.name, 80)}: {size >> 20} MiB and not taken ({error}); clear its outputs")
    except OSError:
        return False
    return True


def _missing(name: str, have: set[str]) -> str:
    stem = Path(name).stem.lower()
    similar = sorted(h for h in have if h.lower().startswith(stem) and Path(h).suffix == Path(name).suffix)
    return f"{name} is missing" + (f"; is it {shown(similar[0], 80)}?" if similar else "")


# --- zip files ----------------------------------------------------------------------------------------------


def unzip(archive: Path, target: Path, room: Room) -> list[str]:
    """Write the regular files of `archive` under `target` while there is room; return notes on what was left.

    What `room` expects comes first. Bytes are counted as they come out, whatever the archive claims. Raises
    Refused for what is no zip file or is encrypted.
    """
    unsafe, taken = [], set()
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [(_name(entry), entry) for entry in opened.infolist() if not entry.is_dir()]
            for name, entry in sorted(entries, key=lambda item: _order(item[0], room.expected)):
                if name in taken or _SKIPPED & set(PurePosixPath(name).parts):
                    continue
                if why := _unsafe(name, entry):
                    unsafe.append(why)
                elif _extract(opened, entry, target, name, room):
                    taken.add(name)
    except (zipfile.BadZipFile, EOFError, zipfile.zlib.error, lzma.LZMAError, struct.error, ValueError):
        raise Refused(f"{shown(archive.name, 80)} is damaged or no zip file; hand it in again") from None
    except (RuntimeError, NotImplementedError, OSError) as error:
        told = "it has a password" if "encrypted" in str(error) else shown(str(error), 120)
        raise Refused(f"{shown(archive.name, 80)}, a zip file, cannot be unpacked: {told}") from None
    return summed_up(unsafe, "such entries, not taken") + left_out(room.refused)


def _extract(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, name: str, room: Room) -> bool:
    """Write one entry where there is room for what comes out of it; return whether it was written."""
    path, size, most = target / name, 0, room.most(name)
    if not room.files:
        room.refused += 1
        return False
    packed = opened.open(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except OSError:
        # A name that the file system cannot hold, or that a folder has already.
        packed.close()
        room.refused += 1
        return False
    with packed, file:
        while size <= most and (data := packed.read(1 << 20)):
            size += len(data)
            file.write(data)
    if not room.take(name, size):
        path.unlink()
        # After the first that comes out too large nothing more is unpacked: unpacking costs time too.
        room.files = 0
        return False
    _set_date(path, entry)
    return True


def _name(entry: zipfile.ZipInfo) -> str:
    """Return an entry's name; some programs write backslashes, against the format."""
    return entry.filename.replace("\\", "/")


def _unsafe(name: str, entry: zipfile.ZipInfo) -> str:
    """Return why this entry is not taken, the empty string where it is."""
    path, told = PurePosixPath(name), shown(name, 80)
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        return f"{told!r}: leads out of the folder, not taken"
    if len(path.parts) > MAX_DEPTH or not path.parts:
        return f"{told!r}: no name for a file, not taken"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind and kind != stat.S_IFREG:
        return f"{told!r}: a link or a special file, not taken"
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
                folder = _checkout(url, deadline, Path(scratch), expected, result)
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


def _checkout(url: str, deadline: datetime, scratch: Path, expected: set[str], result: Collected) -> Path:
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
    listed = _git(*inside, "ls-tree", "-r", "-l", "-z", commit).split("\0")
    entries = [(name, *head.split()) for head, _, name in (line.partition("\t") for line in listed) if name]
    room, special = Room(expected), []
    for name, mode, _, blob, size in sorted(entries, key=lambda entry: _order(entry[0], expected)):
        if mode not in ("100644", "100755") or ".." in PurePosixPath(name).parts:
            special.append(f"{shown(name, 80)!r}: a link or a submodule, not taken")
        elif room.take(name, int(size)):
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                file = target.open("xb")
            except OSError:
                room.refused += 1
                continue
            with file:
                _git(*inside, "cat-file", "blob", blob, into=file)
    result.notes += summed_up(special, "links or submodules, not taken") + left_out(room.refused)
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
