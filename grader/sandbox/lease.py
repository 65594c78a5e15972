"""One holder for each GPU of a machine, whoever grades there: a lock on a file, which the kernel frees.

The lock belongs to an open file. The grader opens it, and the leader and the first process of each rank of a job
hold it too; the worker, which runs the submission, does not, since it could unlock it. So the lock is free when the
last of them is gone: not when the grader alone was killed while its job lives on, and at once when all were. See
flock(2).

Beside the locks lie notes: why a GPU is out of service, until somebody deletes the note. All this is in /run where
there is one, and gone when the machine starts again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from grader.sandbox.calls import SandboxError

_MOST = 64  # bytes read of a lock's file, and characters of a name
_LONGEST = 2000  # characters read of a note
FOLDERS = ("/run/lock", "/var/lock", "/tmp")  # the first that there is: all graders of a machine must agree


def folder() -> Path:
    """Return the folder of this machine's locks."""
    return Path(next(name for name in FOLDERS if os.path.isdir(name)), "grader-gpus")


class Lease:
    """The lock on one GPU. `close` frees it for this process, `fileno` is for those who hold it too."""

    def __init__(self, descriptor: int, name: str):
        self._descriptor, self.name = descriptor, name

    def fileno(self) -> int:
        return self._descriptor

    @property
    def at_rest(self) -> int | None:
        """Bytes of the GPU in use while nobody used it, as an earlier holder saw it, None where nobody did."""
        text = os.pread(self._descriptor, _MOST, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else None

    @at_rest.setter
    def at_rest(self, used: int) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(used).encode(), 0)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Locks:
    """The locks of a machine's GPUs in one folder, which graders of several users share."""

    def __init__(self, place: Path | None = None):
        """Make the folder where there is none; raises SandboxError where a stranger could replace what lies in it."""
        self.folder = place or folder()
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir()
            self.folder.chmod(0o1777)  # not in mkdir, where the umask would count
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            raise SandboxError(
                f"{self.folder}: not a folder of root's or of yours; delete it, and grade again"
            )

    def try_lease(self, name: str) -> Lease | None:
        """Return the lease of the GPU called `name` (its UUID), None where somebody holds it."""
        path = self._path(name, "lock")
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            # Two who create it at once must end with the same file: without O_EXCL they do.
            descriptor = os.open(path, flags | os.O_CREAT, 0o666)
            with contextlib.suppress(PermissionError):  # the other one's, who does it
                os.fchmod(descriptor, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return Lease(descriptor, name)

    def retire(self, name: str, why: str) -> str:
        """Take a GPU out of service; returns the sentence that says why, and how it comes back."""
        path = self._path(name, "out")
        sentence = f"{why}; it gets no more jobs until somebody has looked and deletes {path}"
        aside = path.with_name(f"{path.name}-{os.getpid()}")
        # In a folder that all may write to, a name may be a stranger's link to a file of ours.
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(sentence + "\n")
        aside.replace(path)
        return sentence

    def why_out(self, name: str) -> str:
        """Return why a GPU is out of service, the empty string where it is not."""
        try:
            with open(self._path(name, "out"), encoding="utf-8", errors="replace") as file:
                return file.read(_LONGEST).strip() or "it is out of service, and nobody said why"
        except FileNotFoundError:
            return ""

    def _path(self, name: str, ending: str) -> Path:
        if not name or len(name) > _MOST or not all(sign.isalnum() or sign == "-" for sign in name):
            raise SandboxError(f"{name!r} is no name of a GPU")
        return self.folder / f"{name}.{ending}"
