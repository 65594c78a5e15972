"""Submissions from git repositories."""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from grader.book.nbgrader_course import NbCourse
from grader.course import CourseError
from grader.steps.collect.room import Collected, Refused, Room, order
from grader.steps.collect.take import check_student, expected_files, take_submission
from grader.text import plain
from grader.tree import left_out, summed_up

_GIT_SECONDS = 300


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
    expected = expected_files(course, assignment)
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
                take_submission(course, assignment, folder, expected, result)
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
    for name, mode, _, blob, size in sorted(entries, key=lambda entry: order(entry[0], expected)):
        if mode not in ("100644", "100755") or ".." in PurePosixPath(name).parts:
            special.append(f"{plain(name, 80)!r}: a link or a submodule, not taken")
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
