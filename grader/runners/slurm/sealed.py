"""Messages between the submit host and a task on a disk that others may write to: text under a MAC.

A message is one line that says what it is about, and a body. Its MAC (HMAC-SHA256) covers both, under a key that only
the two ends know. Nothing of a body is parsed before its MAC was found right.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MAGIC = "grader-slurm-1"
# Bytes of a message; a report has what a submission printed, which is limited, many times below this.
MOST = 64 << 20
_HEAD = 300  # bytes of the first line, at most


class Refused(Exception):
    """A message that is not taken; the sentence says why."""


@dataclass(frozen=True)
class About:
    """What a message is about. `round` names one attempt, `task` one of its tasks, `index` one of its submissions."""

    kind: str  # task, report, end or findings
    round: str
    task: int
    index: int = 0

    @property
    def words(self) -> list[str]:
        return [MAGIC, self.kind, self.round, str(self.task), str(self.index)]

    def __str__(self) -> str:
        return f"{self.kind} {self.index} of task {self.task}, attempt {self.round}"


def key_of(master: bytes, round_: str, task: int) -> bytes:
    """Return the key of one task of one attempt. It tells nothing of `master`, nor of another task's key."""
    return hmac.digest(master, f"{MAGIC} {round_} {task}".encode(), "sha256")


def seal(key: bytes, about: About, body: bytes) -> bytes:
    """Return the message."""
    words = [*about.words, str(len(body))]
    return " ".join([*words, _mac(key, words, body)]).encode() + b"\n" + body


def opened(key: bytes, about: About, message: bytes) -> bytes:
    """Return the body of a message, which must be about `about`; raises Refused with the reason."""
    line, newline, body = message.partition(b"\n")
    words = line.decode("ascii", "replace").split(" ") if len(line) <= _HEAD else []
    if not newline or len(words) != 7 or words[0] != MAGIC:
        raise Refused(f"{about}: no message of this grader, or cut short in its first line")
    *said, size, mac = words
    if not size.isdigit() or len(body) < int(size):
        raise Refused(f"{about}: cut short, {len(body)} of {size[:20]} bytes are there")
    if said != about.words:
        kind, round_, task, index = said[1:]
        raise Refused(f"{about}: says that it is {kind} {index} of task {task}, attempt {round_}; a copy")
    if not hmac.compare_digest(_mac(key, [*said, size], body), mac):
        raise Refused(f"{about}: its MAC is not that of this task and attempt; forged, or changed on the way")
    return body


def _mac(key: bytes, words: list[str], body: bytes) -> str:
    head = " ".join(words).encode() + b"\n"
    return hmac.new(key, head + body, hashlib.sha256).hexdigest()


def read(path: Path) -> bytes:
    """Return the bytes of a regular file of `MOST` at most; raises Refused for anything else, FileNotFoundError."""
    try:
        # A link could lead to any file of ours, and a fifo would block for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = "a link" if error.errno == errno.ELOOP else error.strerror
        raise Refused(f"{path.name}: cannot be read ({what})") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Refused(f"{path.name}: not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > MOST:
            raise Refused(f"{path.name}: {status.st_size >> 20} MiB; a message may have {MOST >> 20} MiB")
        return file.read(MOST)


def write(path: Path, data: bytes, rights: int = 0o600) -> None:
    """Write a file that is there in full or not at all, for its owner alone."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, rights)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(
            descriptor
        )  # another machine may look at once, and a power cut must not leave a name without bytes
    aside.replace(path)
