"""Zip files of strangers."""

from __future__ import annotations

import lzma
import os
import re
import stat
import struct
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from grader.steps.collect.room import LEADS_OUT, NO_NAME, SPECIAL, TWICE, UNUSABLE, Refused, Room, order
from grader.steps.collect.zip_entries import modified, names_of
from grader.text import plain
from grader.tree import MAX_DEPTH, is_leftover

_DEEP = 6  # folders in folders in which a class's zip file may have its students
_DRIVE = re.compile(r"[A-Za-z]:(/|$)")  # of Windows; a colon elsewhere is part of a name
_MAGIC = [
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("rar", 0, b"Rar!\x1a\x07"),
    ("gz", 0, b"\x1f\x8b"),
    ("bz2", 0, b"BZh"),
    ("xz", 0, b"\xfd7zXZ\0"),
    ("zst", 0, b"\x28\xb5\x2f\xfd"),
    ("cab", 0, b"MSCF"),
    ("tar", 257, b"ustar"),
]
_ARCHIVE = re.compile(
    r"\.((tar\.)?(gz|bz2|xz|zst|lz|z|lzma)|7z(\.\d+)?|rar|part\d+\.rar|r\d\d|tar|tgz|tbz2?|txz|tzst|zipx|z\d\d|zip\.\d+"
    r"|lzh|lha|cab|ace|arj|sitx?|dmg|iso|wim|cpio|xar|pkg)$"
)
_MOST_LISTED = 32 << 20  # bytes of a zip file's list of entries; each of its 47 becomes 700 in memory


def unzip(archive: Path, target: Path, room: Room) -> list[str]:
    """Write the regular files of `archive` under `target` while there is room; return notes on what was left.

    What `room` expects comes first. Bytes are counted as they come out, whatever the archive claims. Raises
    Refused for what is no zip file or is encrypted.
    """
    taken = set()
    with _opened(archive) as opened:
        entries = _named(opened, room)
        for name, entry in sorted(entries, key=lambda item: order(item[0], room.expected)):
            is_folder = _is_folder(name, entry)
            if is_folder and name in ("./", ""):
                continue
            if why := _unsafe(name, entry, is_folder):
                room.left.setdefault(name, why)
                continue
            wanted = not is_folder and room.wants(name)
            if room.any_name:
                _keep_folders(target, name, is_folder, room)
            if wanted and name in taken:
                room.left.setdefault(name, TWICE)
            elif wanted and _extract(opened, entry, target, name, room):
                taken.add(name)
    return room.notes()


def names_inside(archive: Path, expected: Collection[str]) -> list[str]:
    """Return the names of the files of a zip file, as `unzip` would; raises Refused like it."""
    with _opened(archive) as opened:
        room = Room(expected)
        return [n for n, entry in _named(opened, room) if not _is_folder(n, entry) and room.wants(n)]


def kind_of_archive(name: str, path: Path | None = None) -> str:
    """Return what kind of archive, other than zip, a file is by its name, or by what `path` begins with; else ""."""
    if found := _ARCHIVE.search(name.lower()):
        return found[1]
    start = b""
    if path is not None:
        with path.open("rb") as file:
            start = file.read(263)
    return next((kind for kind, at, magic in _MAGIC if start[at : at + len(magic)] == magic), "")


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    told = plain(archive.name, 80)
    try:
        _refuse_long_list(archive)
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except (zipfile.BadZipFile, EOFError, zipfile.zlib.error, lzma.LZMAError, struct.error, ValueError):
        if kind := kind_of_archive(archive.name, archive):
            raise Refused(
                f"{told} is of the kind {kind} and no zip file; hand it in again, as a zip file"
            ) from None
        raise Refused(f"{told} is damaged or no zip file; hand it in again") from None
    except (RuntimeError, NotImplementedError, OSError) as error:
        why = "it has a password" if "encrypted" in str(error) else plain(str(error), 120)
        raise Refused(f"{told}, a zip file, cannot be unpacked: {why}") from None


def _named(opened: zipfile.ZipFile, room: Room) -> list[tuple[str, zipfile.ZipInfo]]:
    """Return the entries with the names under which they are taken; of a guess `room` hears."""
    entries = opened.infolist()
    names, guessed = names_of(entries, room.expected)
    room.guessed.update((room.named(name), encoding) for name, encoding in guessed.items())
    return [(room.named(name), entry) for name, entry in zip(names, entries, strict=True)]


def _is_folder(name: str, entry: zipfile.ZipInfo) -> bool:
    by_dos = entry.create_system == 0 and entry.external_attr & 0x10 and not entry.file_size
    return name.endswith("/") or bool(by_dos) or stat.S_ISDIR(entry.external_attr >> 16)


def _keep_folders(target: Path, name: str, is_folder: bool, room: Room) -> None:
    """Make the folders of an entry, wanted or not: a student of whom nothing is taken has a folder all the same."""
    parts = PurePosixPath(name).parts
    hidden = next((at for at, part in enumerate(parts) if is_leftover(part)), len(parts))
    folders = parts[: min(hidden, len(parts) - (not is_folder))][:_DEEP]
    try:
        target.joinpath(*folders).mkdir(parents=True, exist_ok=True)
    except OSError:
        room.left.setdefault("/".join(folders), UNUSABLE)


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
        room.over.append(name)
        return False
    packed = opened.open(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except OSError:
        # A name that the file system cannot hold, or that a folder has already.
        packed.close()
        room.left.setdefault(name, UNUSABLE)
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
    if (seconds := modified(entry)) is not None:  # else the date of today stays
        os.utime(path, (seconds, seconds))
    return True


def _unsafe(name: str, entry: zipfile.ZipInfo, is_folder: bool) -> str:
    """Return why this entry is not taken, the empty string where it is."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or _DRIVE.match(name):
        return LEADS_OUT
    if len(path.parts) > MAX_DEPTH or not path.parts:
        return NO_NAME
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) and not is_folder:
        return SPECIAL
    return ""
