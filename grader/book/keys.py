"""What a verdict follows from, as hashes, so that work that is as it was is not run again.

The unit is one check of one notebook, or a whole plain notebook. Its verdict is kept beside the student, under a
key with four fields; where all four are as they were, the verdict stands. It was reached with fresh inputs, whose
seed is kept with it: another run would draw others, and say the same of the same code. What nobody could settle
(undecided, not measured, or a check that broke) has no key, and runs again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import platform
import re
import site
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.course import CourseError, Part
from grader.sandbox.build import Limits
from grader.tree import NOT_SUBMITTED, TRIALS, walk

if TYPE_CHECKING:
    from grader.notebooks.limits import Seconds

PLAIN = ""  # the name of the one check of a plain notebook
_MOST_READ = 1 << 30  # bytes of one folder; of what exceeds it, size and date count
_UNLIKE_GRADING = {"tests", "bench", "demo"}  # of this package: cannot change a verdict
_FIELDS = {
    "submission": "the submitted files differ",
    "check": "the check, or code that it shares with others, differs",
    "environment": "Python, an installed package or the grader itself differs",
    "limits": "the limits on memory or time differ",
}


@dataclass(frozen=True)
class Key:
    """Hashes of everything that one verdict follows from."""

    submission: str
    check: str
    environment: str
    limits: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    def changes_since(self, old: Mapping[str, Any]) -> list[str]:
        """Return what differs from a key of an earlier run, in plain words; nothing where the verdict stands."""
        mine = self.to_dict()
        return [told for name, told in _FIELDS.items() if old.get(name) != mine[name]]


def digest_of(*parts: str | bytes) -> str:
    """Return the hash of these parts, in which no byte can move from one to the next."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def digest_of_text(text: str) -> str:
    """Return the hash that `file_digest` gives for a file with this text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def folder_digest(folder: Path, leave_out: Iterable[str] = ()) -> str:
    """Return the hash of names and bytes of all files under `folder`; links count by their target's name.

    Folders that are no part of a submission do not count, nor does what `folder` itself has under a name of
    `leave_out`. Whatever a worker may see counts.
    """
    found, left, room = [], set(leave_out), _MOST_READ
    for current, folders, files in walk(folder):
        inner = current != os.fspath(folder).rstrip(os.sep)
        folders[:] = [name for name in folders if name not in NOT_SUBMITTED and (inner or name not in left)]
        for name in files:
            path = Path(current) / name
            if name in left and not inner:
                continue
            kind, value = "nothing that can be read", ""
            try:
                status = path.lstat()
            except OSError:  # the path is too long, also for whoever grades it
                pass
            else:
                if stat.S_ISLNK(status.st_mode):
                    kind, value = "link", os.readlink(path)
                elif stat.S_ISREG(status.st_mode) and status.st_size <= room:
                    room -= status.st_size
                    kind, value = "file", file_digest(path)
                elif stat.S_ISREG(status.st_mode):
                    kind, value = "large file", f"{status.st_size} bytes of {status.st_mtime_ns}"
            found += [str(path.relative_to(folder)), kind, value]
    return digest_of(*found)


def file_digest(path: Path) -> str:
    """Return the hash of one regular file's bytes, the empty string where there is none."""
    try:
        # A pipe would keep whoever opens it waiting for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > _MOST_READ:
                return f"{status.st_size} bytes of {status.st_mtime_ns}"
            if stat.S_ISREG(status.st_mode):
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass
    return ""


@functools.cache
def environment_digest() -> str:
    """Return the hash of Python, of the names and versions of all installed packages, and of this grader."""
    folders = {*site.getsitepackages(), *(entry for entry in sys.path if entry.endswith("-packages"))}
    packages = sorted(
        name
        for folder in folders
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if name.endswith((".dist-info", ".egg-info", ".egg-link"))
    )
    ours = folder_digest(Path(__file__).parents[1], _UNLIKE_GRADING)
    return digest_of(platform.python_version(), platform.machine(), ours, *packages)


def check_digests(part: Part) -> dict[str, str]:
    """Return the hash of every check of a part: its own source, and all that checks share.

    Shared is whatever stands in the part's folder and is no function under `@check`: helpers, the driver,
    reference solutions. A function under `@check` belongs to itself, and to the checks that name it.
    """
    shared: list[str | bytes] = []
    functions: dict[tuple[Path, str], str] = {}
    for path in _sources(part):
        data: str | bytes = path.read_bytes()
        if path.parent == part.source / "checks" and path.suffix == ".py":
            data, own = split_checks(path.read_text(encoding="utf-8", errors="replace"), path)
            functions |= {(path, name): source for name, source in own.items()}
        shared += [str(path.relative_to(part.source)), data]
    common = digest_of(*shared)
    texts: dict[str, list[str]] = {}
    for (_, name), source in sorted(functions.items()):
        texts.setdefault(name, []).append(source)
    uses = {
        name: {
            node.id
            for source in sources
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Name) and node.id in texts
        }
        for name, sources in texts.items()
    }
    files = part.checks_public, part.checks_hidden
    ours = [name for file in files for path, name in functions if path == file]
    return {
        name: digest_of(
            common, *(text for used in sorted(_reached(name, uses)) for text in (used, *texts[used]))
        )
        for name in ours
    }


def _reached(name: str, uses: Mapping[str, set[str]]) -> set[str]:
    """Return `name` and all that it uses, and they use."""
    found, new = {name}, [name]
    while new:
        more = uses[new.pop()] - found
        found |= more
        new += more
    return found


def _sources(part: Part) -> list[Path]:
    # Solutions that try the checks, and the statements, are no part of how a check decides: but for those whose
    # folder a file of checks may name, as one does that runs a suite against right ones. A word that only looks so
    # costs one more run.
    folder, found = part.source, []
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (folder / "checks").glob("*.py")]
    trials = {name for name in TRIALS if not any(re.search(rf"""["']{name}["'/]""", text) for text in texts)}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or NOT_SUBMITTED & set(parts[:-1]) or parts[0] in (*trials, "tests"):
            continue
        if path.suffix != ".ipynb" and not (len(parts) == 1 and path.suffix == ".md"):
            found.append(path)
    return found


def split_checks(text: str, path: Path) -> tuple[str, dict[str, str]]:
    """Return the text without its functions under `@check`, and those functions by name.

    Raises CourseError where `path` is no Python file.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CourseError(f"{path}: cannot be read: {error}") from None
    lines, functions, rest = text.split("\n"), {}, []
    done = 0
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or not any(map(_is_check, node.decorator_list)):
            continue
        begin = min(decorator.lineno for decorator in node.decorator_list) - 1
        rest += lines[done:begin]
        functions[node.name] = "\n".join(lines[begin : node.end_lineno])
        done = node.end_lineno
    return "\n".join(rest + lines[done:]), functions


def _is_check(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name == "check"


def limits_digest(part: Part | None, isolation: str, wall: Seconds) -> str:
    """Return the hash of what a worker may use; a check's own limits stand in its source."""
    memory, gpus = (part.memory, part.gpus) if part else (0, 0)
    # A function stands in the course's configuration, which every verdict on a plain notebook follows from.
    told = "of each cell" if callable(wall) else f"{wall:g}"
    return digest_of(json.dumps(asdict(Limits()), sort_keys=True), str(memory), str(gpus), isolation, told)
