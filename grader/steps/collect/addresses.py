"""Addresses of repositories, as students name them: which are clean, and which lie where the class's do.

git takes far more for an address than a host's: paths, `file://`, `ext::` with a command, options. What this
grammar has no word for is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from grader.course import CourseError
from grader.steps.collect.room import Refused
from grader.text import plain

_HOST = r"(?P<host>[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)"
_USER = r"(?P<user>[a-z0-9_][a-z0-9_.-]*)@"  # a - in front would be an option of ssh
_PORT = r"(:(?P<port>[0-9]{1,5}))?"
_PATH = r"(?P<path>[a-z0-9_.~+-]+(/[a-z0-9_.~+-]+)*/?)"
_FORMS = {
    "https": re.compile(rf"https://{_HOST}{_PORT}(/{_PATH}?)?", re.I | re.A),
    "ssh": re.compile(rf"ssh://{_USER}{_HOST}{_PORT}(/{_PATH}?)?", re.I | re.A),
    "scp": re.compile(rf"{_USER}{_HOST}:/?{_PATH}?", re.I | re.A),
}
_MOST = 500  # characters


@dataclass(frozen=True)
class Address:
    """Where a repository lies, or a group of them; `path` is in pieces."""

    scheme: str  # https or ssh
    user: str
    host: str
    port: str
    path: tuple[str, ...]

    def holds(self, other: Address) -> bool:
        """Return whether `other` lies at or below this address: piece by piece, so that `a/b` holds no `a/bc`."""
        same = (self.scheme, self.user, self.host, self.port) == (
            other.scheme,
            other.user,
            other.host,
            other.port,
        )
        return same and other.path[: len(self.path)] == self.path

    @property
    def place(self) -> tuple[str, ...]:
        """What two addresses of one repository have in common, however they write it."""
        path = [piece.lower() for piece in self.path]
        return self.host, *path[:-1], *(piece.removesuffix(".git") for piece in path[-1:])


def parse(text: str) -> Address | None:
    """Return the address that a text is, None where it is no https or ssh address of the plainest kind."""
    for form, pattern in _FORMS.items():
        match = pattern.fullmatch(text) if len(text) <= _MOST else None
        if match is None:
            continue
        path = tuple(piece for piece in (match["path"] or "").split("/") if piece)
        if any(piece in (".", "..") or piece.startswith("-") for piece in path):
            return None
        found = match.groupdict()
        scheme = "ssh" if form == "scp" else form
        return Address(scheme, found.get("user") or "", match["host"].lower(), found.get("port") or "", path)
    return None


def parse_allowed(prefixes: Sequence[str]) -> list[Address]:
    """Return where a class's repositories lie; raises CourseError where nobody said so, or a prefix is none."""
    example = "such as https://gitlab.example.org/class-2027 or git@gitlab.example.org:class-2027"
    if not prefixes:
        raise CourseError(f"say with --from where the class's repositories lie, host and group, {example}")
    found = []
    for prefix in prefixes:
        address = parse(prefix)
        if address is None:
            raise CourseError(f"--from {prefix!r}: neither an https nor an ssh address; write one {example}")
        found.append(address)
    return found


def check_address(text: str, allowed: Sequence[Address]) -> Address:
    """Return a student's address; raises Refused where it is none, or lies at none of `allowed`."""
    address, told = parse(text), plain(text, 120)
    if address is None:
        raise Refused(
            f"{told!r} is no address of a repository: https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH, "
            "without a password"
        )
    if not any(prefix.holds(address) and prefix != address for prefix in allowed):
        raise Refused(f"{told!r} lies at no --from of this command; ask the student, or add its group")
    return address
