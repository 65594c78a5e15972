"""What a verdict follows from, as hashes, so that work that is as it was is not run again.

The unit is one check of one notebook, or a whole plain notebook. Its verdict is kept beside the student, under a
key with four fields; where all four are as they were, the verdict stands. It was reached with fresh inputs, whose
seed is kept with it: another run would draw others, and say the same of the same code. What nobody could settle
(undecided, or a check that broke) has no key, and runs again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import platform
import site
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grader.course import CourseError, Part
from grader.sandbox.build import Limits
from grader.tree import NOT_SUBMITTED, TRIALS, walk

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
    """Return the hash of names and bytes of the regular files under `folder`; links count by their target's name."""
    found, never, room = [], NOT_SUBMITTED | set(leave_out), _MOST_READ
    for current, folders, files in walk(folder):
        folders[:] = [name for name in folders if name not in never]
        for name in files:
            path = Path(current) / name
            if name in never:
                continue
            found.append(str(path.relative_to(folder)))
            try:
                status = path.lstat()
            except OSError:  # the path is too long, also for whoever grades it
                continue
            if stat.S_ISLNK(status.st_mode):
                found.append(f"-> {os.readlink(path)}")
            elif stat.S_ISREG(status.st_mode) and status.st_size <= room:
                room -= status.st_size
                found.append(file_digest(path))
            elif stat.S_ISREG(status.st_mode):
                found.append(f"{status.st_size} bytes of {status.st_mtime_ns}")
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
    shared, functions = [], {}
    for path in _sources(part.source):
        text = path.read_text(encoding="utf-8", errors="replace")
        own: dict[str, str] = {}
        if path.parent == part.source / "checks":
            text, own = split_checks(text, path)
        shared += [str(path.relative_to(part.source)), text]
        functions |= {(path, name): source for name, source in own.items()}
    common = digest_of(*shared)
    names = {name for _, name in functions}
    ours = [
        entry for path in (part.checks_public, part.checks_hidden) for entry in functions if entry[0] == path
    ]
    found = {}
    for path, name in ours:
        source = functions[path, name]
        used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)} & names
        named = [text for (_, other), text in sorted(functions.items()) if other in used - {name}]
        found[name] = digest_of(common, source, *named)
    return found


def _sources(folder: Path) -> list[Path]:
    # Solutions that try the checks, and the notebook, are no part of how a check decides.
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not (NOT_SUBMITTED | {*TRIALS, "tests"}) & set(path.relative_to(folder).parts)
        and path.suffix not in (".ipynb", ".md")
    )


def split_checks(text: str, path: Path) -> tuple[str, dict[str, str]]:
    """Return the text without its functions under `@check`, and those functions by name.

    Raises CourseError where `path` is no Python file.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CourseError(f"{path}: cannot be read: {error}") from None
    lines, functions, rest = text.splitlines(), {}, []
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


def limits_digest(part: Part | None, isolation: str, wall: float) -> str:
    """Return the hash of what a worker may use; a check's own limits stand in its source."""
    memory = part.memory if part else 0
    return digest_of(json.dumps(asdict(Limits()), sort_keys=True), str(memory), isolation, f"{wall:g}")
