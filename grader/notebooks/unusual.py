"""What a person should see of a submission that did more than solve the task: quoted, never judged.

Nothing here takes or gives points. The sandbox and the examiner defend the grade; these notes say where somebody
tried, or where an honest accident looks as if they had.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from grader.text import plain

MOST = 5  # quoted lines of one file or notebook
MAX_FILE = 1 << 20  # bytes read of one file

# What honest homework rarely writes, and what it is about.
_UNUSUAL = {
    "the gradebook or the grader's own files": (
        r"gradebook\.db|nbgrader_config|course\.toml|_hidden\b|\bmanual_score\b|\bauto_score\b"
    ),
    "the machinery that runs the cells": (
        r"displayhook|get_ipython\(\)\s*\.\s*(kernel|events|input_transform|ast_transform|display_pub|run_c)"
        r"|InteractiveShell|\brun_code\b"
    ),
    "the caller's frames, objects or modules": (
        r"_getframe|gc\.get_(objects|referrers)|inspect\.(stack|currentframe)|sys\.set(trace|profile)"
        r"|sys\.modules\s*\[|__builtins__|builtins\.\w+\s*=[^=]"
    ),
    "comparison functions that tests use": (
        r"\b(torch|np|numpy|testing)\.(\w+\.)?(\w*allclose|isclose|equal|array_equal|assert_\w+)\s*=[^=]"
        r"|setattr\(\s*(torch|np|numpy|builtins|math|time)\b|def __torch_function__"
    ),
    "clocks": r"\btime\.(time|perf_counter|monotonic|process_time)(_ns)?\s*=[^=]",
    "other processes or the kernel": (
        r"/proc/(self|\d|1)|\bptrace\b|os\.(kill|killpg|setsid|unshare)\b|/sys/fs/cgroup|\bctypes\b|os\._exit"
    ),
    "deleting files": r"\brmtree\(|os\.(remove|unlink)\(",
    "the network": r"create_connection|urlopen\(|requests\.(get|post)\(",
}
_PATTERNS = {what: re.compile(pattern) for what, pattern in _UNUSUAL.items()}
_CUSTOM = {"sitecustomize", "usercustomize", "conftest"}


def quotes(where: str, source: str, ours: str = "") -> Iterator[str]:
    """Yield a note for each unusual line of `source`, at most MOST; lines that are in `ours` are the course's."""
    known = {line.strip() for line in ours.splitlines()}
    left = MOST
    for number, line in enumerate(source.splitlines(), 1):
        if line.strip() in known or line.lstrip().startswith("#"):
            continue
        what = next((what for what, pattern in _PATTERNS.items() if pattern.search(line)), None)
        if what is None:
            continue
        yield f"{where}, line {number} is about {what}: {plain(line.strip(), 100)}"
        left -= 1
        if not left:
            return


def file_notes(folder: Path, names: Iterable[str], course: Path) -> list[str]:
    """Return notes on the files of a submission, `names` relative to `folder`; `course` has the released ones."""
    notes = []
    for name in names:
        path = Path(name)
        told = plain(name, 80)
        if path.suffix == ".py" and len(path.parts) == 1 and not (course / name).exists():
            if path.stem in _CUSTOM:
                notes.append(f"{told}: a file that Python or pytest would run by itself")
            elif _replaces(path.stem):
                notes.append(f"{told}: named like the module {path.stem}, which it would replace")
        if path.suffix == ".pth" or path.name in (
            "gradebook.db",
            "nbgrader_config.py",
            "nbgrader_config.json",
        ):
            notes.append(f"{told}: a file that configures Python or nbgrader")
        if path.suffix == ".py":
            notes += quotes(told, _text(folder / name), _text(course / name))
    return notes


def _text(path: Path) -> str:
    if not path.is_file() or path.is_symlink():
        return ""
    with path.open("rb") as file:
        return file.read(MAX_FILE).decode("utf-8", "replace")


@cache
def _library() -> list[str]:
    return [sysconfig.get_path(name) for name in ("purelib", "platlib")]


def _replaces(stem: str) -> bool:
    return stem in sys.stdlib_module_names or PathFinder.find_spec(stem, _library()) is not None
