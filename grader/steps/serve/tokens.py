"""Who asks: a token per student, made from one key of the course's, so that no list of tokens is kept."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path

from grader.course import CourseError
from grader.whole_files import folder_alike

_NAME = re.compile(r"[A-Za-z0-9_@+-](?:[A-Za-z0-9._@+-]{0,62}[A-Za-z0-9_@+-])?")
_KEY_BYTES = 32


def key_of(root: Path) -> bytes:
    """Return the key of the course at `root`, made when it is asked for the first time, for its owner alone."""
    path = folder_alike(root / ".grader", 0o700) / "serve.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_text(encoding="ascii").strip()
        if not re.fullmatch(rf"[0-9a-f]{{{2 * _KEY_BYTES}}}", key):
            raise CourseError(f"{path}: not a key; delete it, and give out new tokens") from None
    else:
        key = secrets.token_hex(_KEY_BYTES)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(key + "\n")
    return bytes.fromhex(key)


def token(key: bytes, student: str) -> str:
    """Return the token of a student; raises CourseError for a name that cannot stand in one."""
    if not _NAME.fullmatch(student):
        raise CourseError(
            f"{student!r}: a student here has 1 to 64 letters, digits and . _ @ + -, no dot at the ends"
        )
    return f"{student}.{_sign(key, student)}"


def student_of(key: bytes, told: str) -> str | None:
    """Return whose token this is, None where it is nobody's."""
    student, _, signature = told.rpartition(".")
    if not _NAME.fullmatch(student):
        return None
    return student if hmac.compare_digest(signature.encode(), _sign(key, student).encode()) else None


def _sign(key: bytes, student: str) -> str:
    return hmac.digest(key, f"grader serve\n{student}".encode(), "sha256").hex()
