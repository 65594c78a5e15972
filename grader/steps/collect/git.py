"""Submissions from git repositories, whose addresses and contents students choose."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from grader.book.nbgrader_course import NbCourse
from grader.course import CourseError
from grader.steps.collect.addresses import Address, check_address, parse, parse_allowed
from grader.steps.collect.git_says import why
from grader.steps.collect.ours import own_texts
from grader.steps.collect.room import LEADS_OUT, TWICE, UNUSABLE, Collected, Refused, Room, order, tripped
from grader.steps.collect.table import read_repositories
from grader.steps.collect.take import check_student, expected_files, take_submission
from grader.text import plain

SECONDS = 300.0  # for one repository, all its commands together
MOST_BYTES = 1 << 30  # of one repository as it is sent, history included
_MOST_LISTED = 8 << 20  # bytes of the list of its files; a few trees that name each other list without end
_MEMORY = 1 << 30  # bytes of address space of each of git's processes
# What of the instructor's environment git gets: where programs lie, and how this machine reaches the network.
_KEPT = ("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
_KEPT += ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY")
# A shell sets the limits: what Python runs between fork and exec may hang where it has threads.
_LIMITED = 'ulimit -c 0; ulimit -f "$1"; ulimit -v "$2"; shift 2; exec git "$@"'
_SETTINGS = {
    "credential.helper": "",
    "core.hooksPath": "/dev/null",
    "core.askPass": "",
    "core.bigFileThreshold": "16m",  # larger files go through memory in pieces
    "core.packedGitWindowSize": "16m",  # of address space
    "core.packedGitLimit": "256m",
    "fetch.unpackLimit": "1",  # keeps what comes in one file, which has a limit
    "fetch.recurseSubmodules": "false",
    "http.followRedirects": "false",  # the address that was checked is the address that is asked
    "transfer.bundleURI": "false",
}


def collect_git(
    course_root: Path | str,
    assignment: str,
    repositories: Path | str,
    *,
    allowed: Sequence[str],
    key: Path | None = None,
    deadline: datetime | None = None,
    progress: Callable[[Collected, int, int], None] | None = None,
) -> list[Collected]:
    """Take the last commit before `deadline` of every repository in a CSV file of `student,url` lines.

    Only repositories below one of the addresses in `allowed` are asked, over https without credentials, or over
    ssh with the file `key` and no other key. No setting, helper, agent or prompt of the instructor's is used.
    The key reads everybody's: a repository that several students name is taken for none of them, and one commit
    in several repositories is noted.
    `deadline` is the assignment's own where it is None; one without a time zone is UTC. A commit's date is
    what its author's computer said: fetch soon after the deadline. Raises CourseError for a file that is no
    such table, for an address in `allowed` that is none, or without any deadline.
    """
    course = NbCourse.open(course_root)
    expected, own = expected_files(course, assignment), own_texts(course, assignment)
    addresses = parse_allowed(allowed)
    if key is not None and not key.is_file():
        raise CourseError(f"--key {key}: not a file; name the private key that may read the repositories")
    if deadline is None and course.data and assignment in course.data.assignments:
        deadline = course.data.assignments[assignment].deadline
    if deadline is None:
        raise CourseError(f"{assignment} has no deadline in course.toml; give one with --deadline")
    if deadline.tzinfo is None:
        deadline = deadline.replace(tzinfo=UTC)
    lines = read_repositories(Path(repositories))
    results, by_commit = [], {}
    for done, (name, url) in enumerate(lines, 1):
        result = Collected(plain(name, 80))
        try:
            result.student = check_student(name)
            if sum(_same(name, other) for other, _ in lines) > 1:
                raise Refused(f"{result.student} stands in more than one line of {repositories}; keep one")
            address = check_address(url, addresses)
            if others := [other for other, its in lines if not _same(name, other) and _is_at(its, address)]:
                raise Refused(
                    f"{plain(url, 120)} is also named by {plain(', '.join(others), 120)}; ask whose it is, and keep "
                    "that line"
                )
            with tempfile.TemporaryDirectory() as scratch:
                git = _Git(Path(scratch), address, key)
                folder, commit = _checkout(git, url, deadline, Path(scratch), Room(expected), result)
                by_commit.setdefault(commit, []).append(result)
                if earlier := by_commit[commit][:-1]:
                    result.notes.append(f"has the very commit of {earlier[0].student}")
                take_submission(course, assignment, folder, expected, own, result)
        except Refused as error:
            result.refused = str(error)
        except CourseError:
            raise
        except Exception as error:  # one repository that trips us must not stop the class
            result.refused = tripped(error)
        results.append(result)
        if progress:
            progress(result, done, len(lines))
    return sorted(results, key=lambda result: result.student)


def _same(name: str, other: str) -> bool:
    return unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other)


def _is_at(url: str, address: Address) -> bool:
    found = parse(url)
    return found is not None and found.place == address.place


def _checkout(
    git: _Git, url: str, deadline: datetime, scratch: Path, room: Room, result: Collected
) -> tuple[Path, str]:
    """Write the files of the last commit before `deadline` to a folder; return it, and the commit."""
    folder = scratch / "files"
    folder.mkdir()
    git.clone(url)
    if not git.has_head():
        raise Refused(f"{plain(url, 120)}: {git.why_nothing_came(url)}")
    commit = git.told("rev-list", "-1", f"--min-age={int(deadline.timestamp())}", "HEAD").strip()
    if not commit:
        raise Refused(f"{plain(url, 120)}: no commit before {deadline:%Y-%m-%d %H:%M %Z}")
    told = git.told("show", "--no-patch", "--format=%ct", commit).strip()
    if not re.fullmatch(r"[0-9]{1,10}", told):
        raise Refused(f"{plain(url, 120)}: commit {commit[:10]} has no date; ask the student to commit again")
    seconds = int(told)
    result.timestamp = datetime.fromtimestamp(seconds, UTC)
    result.notes.append(f"commit {commit[:10]}")
    listed = git.told("ls-tree", "-r", "-l", "-z", commit).split("\0")
    entries = [(name, *head.split()) for head, _, name in (line.partition("\t") for line in listed) if name]
    entries = [(room.named(name), *more) for name, *more in entries]
    for name, mode, _, blob, size in sorted(entries, key=lambda entry: order(entry[0], room.expected)):
        if not room.wants(name):
            continue
        if mode not in ("100644", "100755"):
            room.left[name] = "a link or a submodule, not taken"
        elif _leads_out(name):
            room.left[name] = LEADS_OUT
        elif room.take(name, int(size)):
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                file = target.open("xb")
            except FileExistsError:
                room.left[name] = TWICE
                continue
            except OSError:
                room.left[name] = UNUSABLE
                continue
            with file:
                git.run("cat-file", "blob", blob, into=file)
    result.notes += room.notes()
    return folder, commit


def _leads_out(name: str) -> bool:
    """Return whether a name is no plain path below a folder: in a tree made by hand a file may be called /etc/x."""
    return any(part in ("", ".", "..") for part in name.split("/"))


class _Git:
    """git on one repository: nothing of the instructor's is in its reach, and it has limits."""

    def __init__(self, scratch: Path, address: Address, key: Path | None):
        """Raises Refused for an address that needs a key where there is none."""
        self._bare, self._end = scratch / "bare", time.monotonic() + SECONDS
        home = scratch / "home"  # a home of its own: .netrc holds passwords, .config and .gitconfig commands
        home.mkdir()
        self._environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "HOME": str(home),
            "LC_ALL": "C",
            "GIT_ALLOW_PROTOCOL": address.scheme,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        if address.scheme == "ssh":
            if key is None:
                raise Refused(
                    "ssh needs a key: --key FILE, one that may read the class's repositories and nothing else"
                )
            self._environment |= {"GIT_SSH_COMMAND": _ssh(key), "GIT_SSH_VARIANT": "ssh"}

    def clone(self, url: str) -> None:
        options = "--quiet --bare --single-branch --no-tags --no-recurse-submodules --template="
        self._run(["clone", *options.split(), "--", url, str(self._bare)], MOST_BYTES)

    def has_head(self) -> bool:
        """Return whether there is a commit on the default branch."""
        with suppress(Refused):
            return bool(self.told("rev-parse", "--verify", "--quiet", "HEAD"))
        return False

    def why_nothing_came(self, url: str) -> str:
        """Return what a repository lacks that was cloned and has no commit on its default branch."""
        with tempfile.TemporaryFile() as output:
            self._run(["ls-remote", "--heads", "--", url], _MOST_LISTED, output)
            output.seek(0)
            listed = output.read().decode("utf-8", "replace").split()[1::2]
        if not listed:
            return "it is empty, no commit was pushed to it"
        branches = ", ".join(plain(name.removeprefix("refs/heads/"), 40) for name in listed[:5])
        return f"no commit on its default branch, only on {branches}; ask the student to push there, or to change it"

    def told(self, *arguments: str) -> str:
        """Return what a command says of the repository."""
        with tempfile.TemporaryFile() as output:
            self.run(*arguments, into=output, most=_MOST_LISTED)
            output.seek(0)
            return output.read().decode("utf-8", "surrogateescape")

    def run(self, *arguments: str, into: IO[bytes], most: int = MOST_BYTES) -> None:
        """Run a command on the repository; what it says goes to a file, of `most` bytes."""
        self._run(["--git-dir", str(self._bare), *arguments], most, into)

    def _run(self, arguments: list[str], most: int, into: IO[bytes] | None = None) -> None:
        """Raise Refused with what git says, or with the limit that it met."""
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = ["sh", "-c", _LIMITED, "sh", str(most >> 9), str(_MEMORY >> 10), *settings, *arguments]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=into or subprocess.DEVNULL,
                stderr=errors,
                env=self._environment,
                cwd=self._bare.parent,
                start_new_session=True,
            )
            try:
                process.wait(max(0.0, self._end - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise Refused(f"its repository took git more than {SECONDS:g} s") from None
            finally:
                # git's helpers, such as ssh, outlive it.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.returncode:
                errors.seek(0)
                told = errors.read(1 << 20).decode("utf-8", "replace")
                raise Refused(why(told, process.returncode, most))


def _ssh(key: Path) -> str:
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "30",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return shlex.join(["ssh", "-F", "none", *settings, "-i", str(key.resolve())])
