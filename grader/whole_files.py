"""Files and folders that are complete or absent, whenever the process is killed: written aside, then renamed.

What is kept of a class lies in folders that others may not enter, and has the rights of its folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# Beside the folder that is being replaced; nbgrader passes over names that begin with a dot.
_BUILDING, _OLD = ".{}.building", ".{}.old"


def write_whole(path: Path, text: str) -> None:
    """Write a file that is seen in full or not at all, by those who may read its folder."""
    aside = path.with_name(f".{path.name}.new")
    with open_alike(aside, "w") as file:
        file.write(text)
    aside.replace(path)


def open_alike(path: Path, mode: str) -> IO[str]:
    """Open a text file for writing; a new one is for those to read and write who may do so in its folder."""
    rights = stat.S_IMODE(path.parent.stat().st_mode) & 0o666

    def opener(name: str, flags: int) -> int:
        new = not os.path.exists(name)
        descriptor = os.open(name, flags, 0o600)
        if new:
            os.fchmod(descriptor, rights)
        return descriptor

    return open(path, mode, encoding="utf-8", errors="replace", opener=opener)


def folder_alike(path: Path, rights: int | None = None) -> Path:
    """Make the folder `path` where it is missing, with `rights`, or else with those of the folder that it lies in."""
    if not path.is_dir():
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(stat.S_IMODE(path.parent.stat().st_mode) if rights is None else rights)
    return path


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` at the end; after an error `target` stays.

    Between two renames there is no folder; `repair` puts the earlier one back after a kill at that instant.
    """
    building, old = _aside(target, _BUILDING), _aside(target, _OLD)
    for leftover in (building, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    building.mkdir(parents=True)
    try:
        yield building
    except BaseException:
        shutil.rmtree(building)
        raise
    if target.exists():
        target.rename(old)
    building.rename(target)
    if old.exists():
        shutil.rmtree(old)


def repair(target: Path) -> None:
    """Clear away what a killed process left of `replaced_folder`."""
    building, old = _aside(target, _BUILDING), _aside(target, _OLD)
    if building.exists():
        shutil.rmtree(building)
    if old.exists():
        if target.exists():
            shutil.rmtree(old)
        else:
            old.rename(target)


def _aside(target: Path, name: str) -> Path:
    return target.with_name(name.format(target.name))


def to_disk(folder: Path) -> None:
    """Wait until everything written so far to the file system of `folder` would survive a power cut."""
    if sys.platform != "linux":
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            os.sync()
    finally:
        os.close(descriptor)
