"""The files of one submission as one descriptor, read once: what a sandbox unpacks, and a digest of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from grader.text import plain
from grader.tree import COURSES_OWN, MAX_BYTES, MAX_FILES, NOT_SUBMITTED, STAMP, TRIALS, walk

# What the file system of a sandbox surely holds: it has 16,000 inodes, and a path there has its own beginning.
MAX_FOLDERS = 4000
MAX_PATH = 2000  # bytes


class Packed:
    """The files of one submission, read once, as one descriptor that a sandbox unpacks."""

    def __init__(self, folder: Path, first: Sequence[str] = (), *, others: bool = True):
        """Read every regular file under `folder`, those named in `first` before all others, or only those.

        Notebooks come last, and cost nobody their data: no worker needs them. `digest` is the hash of all names
        and bytes that were read, which is all that a worker may see. `notes` says in one sentence each what was
        left out: links, special files, what exceeds the limits. What is taken can be unpacked in any sandbox: a
        sandbox that cannot be built is the machine's fault, and stops a class.
        """
        self.notes: list[str] = []
        self.folder = Path(folder)
        self.kept: dict[str, Any] = {}
        """What one examination has found out about these files and may be asked again, by a name."""
        contents: list[tuple[str, bytes]] = []
        total, folders, unusual = 0, {"."}, []
        for name in self._names(list(first)) if others else first:
            if len(contents) == MAX_FILES:
                self.notes.append(f"only the first {MAX_FILES} files were taken")
                break
            around = {os.fspath(parent) for parent in PurePosixPath(name).parents} - folders
            if len(os.fsencode(name)) > MAX_PATH or len(folders) + len(around) > MAX_FOLDERS:
                unusual.append(name)
                continue
            data = self._read(name, MAX_BYTES - total)
            if data is not None:
                contents.append((name, data))
                total += len(data)
                folders |= around
        if unusual:
            self.notes.append(
                f"{len(unusual)} left out, such as {plain(unusual[0], 80)}: the files of a submission may lie in "
                f"{MAX_FOLDERS} folders, and a path may have {MAX_PATH} bytes"
            )
        self._write(contents)

    @classmethod
    def of(cls, contents: Mapping[str, bytes]) -> Packed:
        """Return files that lie in no folder: what they hold, by their names."""
        made = cls.__new__(cls)
        made.notes, made.folder, made.kept = [], Path(os.devnull), {}
        made._write(list(contents.items()))
        return made

    def _write(self, contents: list[tuple[str, bytes]]) -> None:
        head = json.dumps([[name, len(data)] for name, data in contents]).encode()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the submission
        digest = hashlib.sha256()
        for piece in (struct.pack("<Q", len(head)), head, *(data for _, data in contents)):
            self._file.write(piece)
            digest.update(piece)
        self._file.flush()
        self.digest = digest.hexdigest()
        self._places: dict[str, tuple[int, int]] = {}
        start = 8 + len(head)
        for name, data in contents:
            self._places[name] = start, len(data)
            start += len(data)

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def read(self, name: str) -> bytes:
        """Return the bytes of one file as they were read, whatever became of it since."""
        start, size = self._places[name]
        data = bytearray()
        while len(data) < size:
            data += os.pread(self.descriptor, size - len(data), start + len(data))
        return bytes(data)

    @property
    def descriptor(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def _names(self, first: list[str]) -> list[str]:
        found = []
        for top, folders, files in walk(self.folder):
            inner = top != os.fspath(self.folder).rstrip(os.sep)
            if not inner and (ours := sorted(set(TRIALS) & set(folders))):
                self.notes.append(
                    f"the folder {', '.join(ours)} is left out; name a module of your own otherwise"
                )
            folders[:] = [n for n in folders if n not in NOT_SUBMITTED and (inner or n not in COURSES_OWN)]
            files = [name for name in files if inner or name != STAMP]
            found += [os.path.relpath(os.path.join(top, name), self.folder) for name in files]
        return sorted(found, key=lambda name: (name not in first, name.endswith(".ipynb")))

    def _read(self, name: str, room: int) -> bytes | None:
        shown = plain(name, 80)
        try:
            name.encode()
        except UnicodeEncodeError:
            self.notes.append(f"{shown}: left out, its name is not UTF-8")
            return None
        # A link could name any file that the grader may read; a fifo would block it for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.folder / name, flags)
        except OSError as error:
            self.notes.append(
                f"{shown}: left out, {'a link' if error.errno == errno.ELOOP else error.strerror}"
            )
            return None
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                self.notes.append(f"{shown}: left out, not a regular file")
                return None
            if info.st_size > room:
                self.notes.append(
                    f"{shown}: left out, the files of a submission may hold {MAX_BYTES >> 20} MiB"
                )
                return None
            return file.read(room)


def unpack(packed: int, folder: str) -> None:
    """Write the files of a packed submission (see `Packed`) under `folder`, read-only."""
    head = os.pread(packed, 8, 0)
    (size,) = struct.unpack("<Q", head)
    start = 8 + size
    for name, length in json.loads(os.pread(packed, size, 8)):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "wb") as file:
            for offset in range(start, start + length, 1 << 20):
                file.write(os.pread(packed, min(1 << 20, start + length - offset), offset))
        os.chmod(path, 0o444)
        start += length
