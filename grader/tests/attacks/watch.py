"""What an attack may not leave behind or get hold of: canaries to find in its output, and the machine around it."""

from __future__ import annotations

import base64
import os
import secrets
import threading
from collections.abc import Collection
from pathlib import Path

import psutil

from grader.sandbox import users

MIB = 1 << 20
_SCRATCH = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
_GROUPS = Path("/sys/fs/cgroup")


class Canaries:
    """Strings that stand nowhere else, planted where no submission may read, and found again in what comes out."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(8)
        secret = self._secret.encode()
        wide = [self._secret.encode(name) for name in ("utf-16-le", "utf-32-le")]
        # Base64 of a text depends on where in a group of three bytes it starts.
        shifted = [base64.b64encode(b"\0" * n + secret)[-(-8 * n // 6) : -4] for n in range(3)]
        self._forms = [secret, secret[::-1], secret.hex().encode(), *wide, *shifted]
        self._forms += [form.upper() for form in self._forms[:3]]
        self.tail = max(map(len, self._forms)) + 64  # bytes to keep when a stream is searched piece by piece

    def plant(self, place: str) -> str:
        """Return the canary of a place: a word that an attack can look for but not make."""
        return f"canary-{self._secret}-{place.replace(' ', '-')}"

    def find(self, data: bytes | str) -> list[str]:
        """Return which canaries stand in the data: plain, reversed, as hex, Base64 or wide characters."""
        data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
        found = set()
        for form in self._forms:
            at = data.find(form)
            if at < 0:
                continue
            after = data[at + len(form) : at + len(form) + 40] if form == self._forms[0] else b""
            place = after[1:].split(b'"')[0].split()[:1] if after[:1] == b"-" else []
            found.add(place[0].decode("ascii", "replace").rstrip("\\',.;:)]}") if place else "in disguise")
        return sorted(found)


def strays(zygote: int, expected: Collection[int] = ()) -> list[str]:
    """Return the sandboxed processes that no job accounts for.

    Those under our `zygote` count unless a process of `expected` stands above them, as do those whose own
    zygote is gone. Sandboxes of other examiners on this machine are left alone.
    """
    parents, names, inside = {}, {}, []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = dict(
                line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line
            )
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        pid = int(folder.name)
        parents[pid], names[pid] = int(status["PPid"]), (status["Name"], command)
        if len(status.get("NSpid", "").split()) > 1 and not status.get("State", "").startswith("Z"):
            inside.append(pid)
    found = []
    for pid in inside:
        above, one = [pid], pid
        while (one := parents.get(one, 0)) > 1:
            above.append(one)
        ours = zygote in above
        # A job's own processes are copies of the zygote too: only one above all of them is a zygote.
        others = any(b"zygote import main" in names[p][1] and parents[p] != 1 for p in above[2:])
        if (ours and not set(above) & set(expected)) or not (ours or others):
            found.append(f"process {pid} ({names[pid][0]}) is left")
    return found


def groups_left(expected: int = 0) -> list[str]:
    """Return a sentence where more control groups of this process are left than are expected to be."""
    mine = f"grader-{os.getpid()}-"
    # os.walk, because groups of other examiners vanish meanwhile.
    names = {name for _, folders, _ in os.walk(_GROUPS) for name in folders if name.startswith(mine)}
    return [f"{len(names) - expected} control groups are left"] if len(names) > expected else []


def files_left() -> list[str]:
    """Return the files of workers in this machine's own folders for temporary files."""
    found = []
    for folder in _SCRATCH:
        for path in folder.iterdir() if folder.is_dir() else ():
            try:
                owner = path.lstat().st_uid
            except OSError:
                continue
            if owner in users.WORKER_UIDS:
                found.append(f"{path} is left")
    return found


class Watch:
    """The examiner's own process before and after: descriptors, threads, memory, and free disk."""

    def __init__(self, *, memory: int = 1024 * MIB, disk: int = 1024 * MIB):
        self._process = psutil.Process()
        self._memory, self._disk = memory, disk
        self._peak_reset()
        self._before = self._reading()

    def harm(self) -> list[str]:
        """Return what became worse since, a sentence each."""
        descriptors, threads, _, free = self._reading()
        found = []
        if descriptors > self._before[0]:
            found.append(f"{descriptors - self._before[0]} descriptors of the examiner are left open")
        if threads > self._before[1]:
            found.append(f"{threads - self._before[1]} threads of the examiner are left")
        if self.peak() - self._before[2] > self._memory:
            found.append(f"the examiner grew by {(self.peak() - self._before[2]) // MIB} MiB")
        if self._before[3] - free > self._disk:
            found.append(f"{(self._before[3] - free) // MIB} MiB of disk are gone")
        return found

    def peak(self) -> int:
        """Return the most memory that this process had resident since the start, in bytes."""
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
        return 0

    def _peak_reset(self) -> None:
        if os.access("/proc/self/clear_refs", os.W_OK):
            Path("/proc/self/clear_refs").write_text("5")

    def _reading(self) -> tuple[int, int, int, int]:
        disk = os.statvfs("/tmp")
        return (
            self._process.num_fds(),
            threading.active_count(),
            self._process.memory_info().rss,
            disk.f_bavail * disk.f_frsize,
        )
