"""What the kernel knows of files: which pages are in memory, who opened what, and how often it was asked to read.

Linux keeps the pages of files that were read in free memory, the *page cache*. A second read of a file costs a copy
and no disk. A measurement that does not say which of the two it was is of no use, so here one can empty the cache for
some files (`evict`) and look whether it worked (`resident`). All of it needs Linux.
"""

import contextlib
import ctypes
import mmap
import os
import resource
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

IN_OPEN = 0x20  # of <linux/inotify.h>


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def evict(paths: Iterable[Path]) -> None:
    """Ask the kernel to drop the pages of these files.

    A page that was not written to the disk yet cannot be dropped, so files of which something stayed are written out
    and dropped again. Two kinds of pages stay all the same: those that a process has mapped, and those of a file
    system that lives in memory (tmpfs, /dev/shm), which ignores the call. Names and inodes stay cached too.
    """
    for path in paths:
        if path.stat().st_size:
            _drop(path, write_out=False)
            if resident([path]):
                _drop(path, write_out=True)


def _drop(path: Path, write_out: bool) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if write_out:
            os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def resident(paths: Iterable[Path]) -> float:
    """Share of the pages of these files that are in the page cache, 0 to 1, by mincore(2).

    Raises ValueError if the files are empty, OSError where the kernel refuses.
    """
    cached = pages = 0
    libc = _libc()
    for path in paths:
        size = path.stat().st_size
        if not size:
            continue
        flags = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
        with path.open("rb") as file:
            # A mapping brings nothing in: a page is read when it is touched.
            address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
            failed = address in (None, ctypes.c_void_p(-1).value) or libc.mincore(address, size, flags)
            if failed:
                error = ctypes.get_errno()
                raise OSError(error, f"mincore of {path.name}: {os.strerror(error)}")
            libc.munmap(address, size)
        cached += sum(flag & 1 for flag in flags)
        pages += len(flags)
    if not pages:
        raise ValueError("resident() needs files that are not empty")
    return cached / pages


@dataclass
class Counts:
    """What the kernel counted while a block ran."""

    opens: int | None = None
    """Files of the watched folders that were opened; None where the kernel has no watch left to give."""
    reads: int = 0
    """Calls of read(2) and its kin by this process, a few of Python's own among them."""
    faults: int = 0
    """Page faults for which the kernel had to read from a disk (major ones)."""


@contextlib.contextmanager
def counting(folders: Iterable[Path]) -> Iterator[Counts]:
    """Count opened files (inotify), read calls (/proc/self/io) and major faults (getrusage) of a block."""
    libc, counts = _libc(), Counts()
    # A user has few watches (often 128), and editors and synchronisers take them.
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        watched = watch >= 0 and all(
            libc.inotify_add_watch(watch, os.fsencode(folder), IN_OPEN) >= 0 for folder in folders
        )
        reads, faults = _reads(), _faults()
        yield counts
        counts.reads, counts.faults = _reads() - reads - 1, _faults() - faults  # one call read the counter
        counts.opens = _opens(watch) if watched else None
    finally:
        if watch >= 0:
            os.close(watch)


def read_ahead(path: Path) -> int | None:
    """How many kB the kernel fetches ahead at most when a file there is read forwards; None if it does not say."""
    device = path.stat().st_dev
    try:
        return int(Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").read_text())
    except (OSError, ValueError):
        return None


def _reads() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["syscr"])


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _opens(watch: int) -> int:
    """Events that wait in an inotify queue; an event is 16 bytes and a name, whose length is the last of four."""
    header, opens = struct.Struct("iIII"), 0
    while True:
        try:
            events = os.read(watch, 1 << 20)
        except BlockingIOError:
            return opens
        place = 0
        while place < len(events):
            opens += 1
            place += header.size + header.unpack_from(events, place)[3]
