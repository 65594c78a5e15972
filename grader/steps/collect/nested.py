"""Zip files among what a student handed in: they are opened where what was asked for is not beside them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from grader.steps.collect.archives import names_inside, unzip
from grader.steps.collect.room import Refused, Room, files_of, order
from grader.text import plain
from grader.tree import summed_up

_DEEP = 2  # zip files in zip files


def open_zips(files: dict[str, Path], expected: set[str], scratch: Path, notes: list[str]) -> dict[str, Path]:
    """Return the files of a submission with those of its zip files, in `scratch`, in the place of the zip files.

    Opened are a zip file that is all there is, and those in which something lies that was asked for and is missing
    otherwise, the newest first. What lies beside a zip file stays. All that was opened has the limits of one
    submission. Raises Refused for a damaged zip file, or one with a password, where nothing was asked for beside it.
    """
    for depth in range(_DEEP):
        zips = [name for name in files if _is_zip(name)]
        room, opened, refused = Room(expected), False, []
        for number, name in enumerate(sorted(zips, key=lambda name: (-files[name].stat().st_mtime, name))):
            have = {PurePosixPath(other).name for other in files}
            try:
                if len(files) > 1 and not _holds_missing(name, files[name], expected, have, notes):
                    continue
                inside = _unzipped(name, files[name], scratch / f"inside-{depth}-{number}", room, notes)
            except Refused as error:
                refused.append(error)
                continue
            twice = [
                f"{plain(other, 80)}: not taken from {plain(name, 80)}" for other in inside if other in files
            ]
            notes += summed_up(
                (f"{told}, it lies beside it" for told in twice), f"files beside {plain(name, 80)}"
            )
            files = {**inside, **{other: file for other, file in files.items() if other != name}}
            opened = True
        if refused and not opened and not expected & {PurePosixPath(name).name for name in files}:
            raise refused[0]
        _note(notes, *map(str, refused))
        if not opened:
            break
        room = Room(expected)
        files = {
            name: files[name]
            for name in sorted(files, key=lambda name: order(name, expected))
            if room.take(name, files[name].stat().st_size)
        }
        notes += room.notes()
    return files


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _note(notes: list[str], *told: str) -> None:
    notes += [one for one in told if one not in notes]


def _holds_missing(name: str, path: Path, expected: set[str], have: set[str], notes: list[str]) -> bool:
    """Return whether a zip file has what is missing, or a zip file, in which it may be."""
    missing = expected - have
    inside = [PurePosixPath(one).name for one in names_inside(path, expected)]
    if missing & set(inside) or (missing and any(map(_is_zip, inside))):
        return True
    if both := sorted(expected & set(inside)):
        _note(notes, f"{plain(name, 80)}: not unpacked, {', '.join(both)} was handed in beside it")
    return False


def _unzipped(name: str, path: Path, target: Path, room: Room, notes: list[str]) -> dict[str, Path]:
    """Return the files of a zip file by the names that they have when they lie in its place."""
    target.mkdir(parents=True)
    room.left, room.over, room.guessed = {}, [], {}
    notes += unzip(path, target, room)
    place = PurePosixPath(name).parent
    return {str(place / inner): file for inner, file in files_of(target, Room(room.expected), notes).items()}
