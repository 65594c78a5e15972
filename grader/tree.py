"""The folder of a submission, walked within limits whatever somebody put there."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from grader.text import plain

# Folders of an assignment's source with solutions that try its checks: never part of what a student has or hands in.
TRIALS = ("right", "wrong")
MAX_FILES = 2000  # in one submission
MAX_BYTES = 64 << 20  # in one submission, notebooks that the assignment asks for aside
MAX_NOTEBOOK = 512 << 20  # of one notebook with its outputs, which are dropped where it is large
MAX_DEPTH = 40  # folders in folders
NOT_SUBMITTED = {
    ".git",
    "__pycache__",
    ".ipynb_checkpoints",
    ".pytest_cache",
    ".venv",
    "venv",
    "node_modules",
    "__MACOSX",
}
"""Names of folders that programs leave beside students' work, and that are no part of it."""
_PROGRAMS = re.compile(
    r"\._.*|\.~.*|~\$.*|\.git\w*|\.(ds_store|localized|directory|appledouble|apdisk|fseventsd|spotlight-v100|temporaryitems)"
    r"|\.trash.*|\.nfs\w*|\.\w*_cache|\.(cache|coverage|hypothesis|tox|nox|venv|eggs|vscode|idea|python-version)"
    r"|\.ipynb_checkpoints|\.virtual_documents|\$recycle\.bin|system volume information|@eadir|icon\r"
    r"|(eh)?thumbs\.db|desktop\.ini|\.grader-progress\.json",
    re.I,
)
COURSES_OWN = {"checks", *TRIALS}
"""Names of folders of an assignment that no student gets, and that no worker sees."""
STAMP = "timestamp.txt"
"""The file of a submitted folder that says when it was handed in, as nbgrader names it."""
_SHOWN = 5
# What a program reads, or runs, because it lies where the program was started or was told to look. Names up to the
# first dot: a folder or a compiled module of that name is read too.
_RUNS = re.compile(
    r"nbgrader_config|jupytext|(jupyter|ipython|ipcluster|ipcontroller|ipengine)\w*_config|(site|user)customize|conftest"
)
# In a folder with a HEAD git sees a repository, and takes commands from its config.
_READ = {
    "course.toml",
    "gradebook.db",
    "head",
    "matplotlibrc",
    "pyproject.toml",
    "pytest.ini",
    "setup.cfg",
    "tox.ini",
}


def is_leftover(name: str) -> bool:
    """Return whether a file or folder of this name is what programs leave beside work, or keep out of sight.

    Names with a dot in front are git's own, settings of shells and editors, caches: some run where they lie.
    """
    return (name.startswith(".") and name not in (".", "..")) or is_programs_own(name)


def is_programs_own(name: str) -> bool:
    """Return whether a program, and nobody by hand, gives this name: what is called so is left out without a word."""
    return name in NOT_SUBMITTED or _PROGRAMS.fullmatch(name) is not None


def is_setting(path: str) -> bool:
    """Return whether a program would run this file, or take settings from it, where somebody works beside it.

    Upper and lower case are one here, as they are to some file systems.
    """
    parts = [part.casefold().strip(" .") for part in path.split("/")]
    return parts[-1] in _READ or any(_RUNS.fullmatch(part.partition(".")[0]) for part in parts)


def walk(folder: str | os.PathLike[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what `os.walk` yields, sorted, no deeper than MAX_DEPTH: a path has an end, and so has the stack."""
    top = os.fspath(folder).rstrip(os.sep)
    for current, folders, files in os.walk(top):
        folders.sort()
        yield current, folders, sorted(files)
        if current.count(os.sep) - top.count(os.sep) >= MAX_DEPTH:
            folders.clear()


def summed_up(notes: Iterable[str], what: str) -> list[str]:
    """Return the first few of many notes that say the same of different files, and how many more there are."""
    notes = list(notes)
    more = len(notes) - _SHOWN
    return notes if more <= 1 else [*notes[:_SHOWN], f"{more} more {what}"]


def left_out(names: Sequence[str]) -> list[str]:
    """Return the note on the files `names` beyond the limits."""
    if not names:
        return []
    limits = f"a submission may have {MAX_FILES} files and {MAX_BYTES >> 20} MiB"
    told = ", ".join(plain(name, 80) for name in names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
    return [f"{len(names)} file{'s are' if len(names) > 1 else ' is'} left out: {limits} ({told})"]


def regular_files(
    folder: Path, ignored: Iterable[str], notes: list[str], *, limited: bool = False
) -> Iterator[str]:
    """Yield the paths, relative to `folder`, of its regular files; links and devices are noted and left.

    `limited` leaves out what exceeds the limits of a submission, with a note.
    """
    special, files_left, bytes_left, over = [], MAX_FILES, MAX_BYTES, []
    for current, folders, files in walk(folder):
        folders[:] = [name for name in folders if not any(fnmatch(name, glob) for glob in ignored)]
        for name in [*folders, *files]:
            if any(fnmatch(name, glob) for glob in ignored):
                continue
            relative = os.path.relpath(os.path.join(current, name), folder)
            try:
                status = os.lstat(folder / relative)
            except OSError:  # the path is too long
                over.append(relative)
                continue
            if stat.S_ISDIR(status.st_mode):
                continue
            if not stat.S_ISREG(status.st_mode):
                special.append(f"{plain(relative, 80)}: a link or a special file, left out")
            elif limited and (not files_left or status.st_size > bytes_left):
                over.append(relative)
            else:
                files_left, bytes_left = files_left - 1, bytes_left - status.st_size
                yield relative
    notes += summed_up(special, "links or special files, left out") + left_out(over)


def copy_file(source: Path, target: Path) -> None:
    """Copy one file, replacing what is there, making the folders on the way."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
