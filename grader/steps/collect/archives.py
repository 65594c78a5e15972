"""Zip files of strangers."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import zipfile
from datetime import datetime
from pathlib import Path, PurePosixPath

from grader.steps.collect.room import Refused, Room, order
from grader.text import plain
from grader.tree import MAX_DEPTH, summed_up

_MOST_LISTED = 32 << 20  # bytes of a zip file's list of entries; each of its 47 becomes 700 in memory


def unzip(archive: Path, target: Path, room: Room) -> list[str]:
    """Write the regular files of `archive` under `target` while there is room; return notes on what was left.

    What `room` expects comes first. Bytes are counted as they come out, whatever the archive claims. Raises
    Refused for what is no zip file or is encrypted.
    """
    unsafe, taken = [], set()
    try:
        _refuse_long_list(archive)
        with zipfile.ZipFile(archive) as opened:
            entries = [(_name(entry), entry) for entry in opened.infolist() if not entry.is_dir()]
            for name, entry in sorted(entries, key=lambda item: order(item[0], room.expected)):
                if name in taken or not room.wants(name):
                    continue
                if why := _unsafe(name, entry):
                    unsafe.append(why)
                elif _extract(opened, entry, target, name, room):
                    taken.add(name)
    except (zipfile.BadZipFile, EOFError, zipfile.zlib.error, lzma.LZMAError, struct.error, ValueError):
        raise Refused(f"{plain(archive.name, 80)} is damaged or no zip file; hand it in again") from None
    except (RuntimeError, NotImplementedError, OSError) as error:
        told = "it has a password" if "encrypted" in str(error) else plain(str(error), 120)
        raise Refused(f"{plain(archive.name, 80)}, a zip file, cannot be unpacked: {told}") from None
    return summed_up(unsafe, "such entries, not taken") + room.notes()


def _refuse_long_list(archive: Path) -> None:
    """Raise Refused where the list of entries is longer than anybody's work; zipfile reads all of it at once."""
    with archive.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end and end[zipfile._ECD_SIZE] > _MOST_LISTED:  # type: ignore[attr-defined]
        raise Refused(f"{plain(archive.name, 80)} lists too many files; zip only what you were asked for")


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
    path, told = PurePosixPath(name), plain(name, 80)
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
