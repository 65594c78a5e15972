"""The leaderboard: what was measured of whom, on which kind of machine, and who is ranked.

Students take part who hand in a file `leaderboard.txt` with a name for themselves in its first line. What was
measured is kept beside the gradebook, by id; what is published has pseudonyms, and the upper half of them only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from grader.book.records import results_folder
from grader.sandbox.packed import Packed
from grader.text import plain
from grader.whole_files import folder_alike, write_whole

OPTS_IN = "leaderboard.txt"
_PSEUDONYM = re.compile(r"[A-Za-z][A-Za-z0-9 _-]{1,23}")
_MOST_READ = 1000  # bytes of the file


class Bounds(Protocol):
    """What has a lower and an upper bound: an interval, or an entry with one."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


@dataclass(frozen=True)
class Measured:
    """What a race of one submission came to: shares of the gap, and how many times as fast as the reference."""

    student: str
    pseudonym: str
    share: float
    low: float
    high: float
    times: float
    measured: str  # when, UTC
    follows: str  # hash of the submission and of the check


@dataclass
class Board:
    """All that was measured of one assignment: by the kind of machine, by "notebook/check", by student."""

    labels: dict[str, str] = field(default_factory=dict)  # of kinds, for a reader
    kinds: dict[str, dict[str, dict[str, Measured]]] = field(default_factory=dict)

    def of(self, kind: str, check: str) -> dict[str, Measured]:
        """Return what was measured for a check on a kind of machine; what is put in is kept."""
        return self.kinds.setdefault(kind, {}).setdefault(check, {})


def apart(one: Bounds, other: Bounds) -> int:
    """Return 1 where `one` is surely above `other`, -1 where it is surely below, 0 for a tie: intervals overlap."""
    return (one.low > other.high) - (one.high < other.low)


def ranked(entries: Iterable[Measured]) -> list[tuple[int, Measured]]:
    """Return the upper half of the entries with their ranks, the first ones first.

    Who overlaps with somebody of a rank has that rank too, so that of two entries with different ranks the one is
    surely above the other. A rank counts if fewer than half of all are above it.
    """
    order = sorted(entries, key=lambda entry: (-entry.share, entry.pseudonym))
    found: list[tuple[int, Measured]] = []
    rank, lowest = 1, float("inf")
    # In the order of upper bounds a chain of overlaps is one piece.
    for place, entry in enumerate(
        sorted(order, key=lambda entry: (-entry.high, -entry.share, entry.pseudonym))
    ):
        if entry.high < lowest:
            rank = place + 1
        lowest = min(lowest, entry.low)
        found.append((rank, entry))
    half = [(rank, entry) for rank, entry in found if rank - 1 < len(found) / 2]
    return sorted(half, key=lambda one: (one[0], -one[1].share, one[1].pseudonym))


def pseudonym_of(packed: Packed) -> str | None:
    """Return the first line of the file that opts in, None where there is none."""
    if OPTS_IN not in packed.names:
        return None
    text = packed.read(OPTS_IN)[:_MOST_READ].decode("utf-8-sig", "replace").strip()
    return plain(text.splitlines()[0].strip() if text else "", 60)


def refusal(pseudonym: str, taken: Iterable[str]) -> str:
    """Return why a pseudonym cannot be shown, nothing where it can; `taken` are ids, names, others' pseudonyms."""
    if not _PSEUDONYM.fullmatch(pseudonym):
        return (
            f"the first line of {OPTS_IN}, {pseudonym!r}, is no name for the board; it takes 2 to 24 "
            "letters, digits, spaces, - and _ of ASCII, a letter first"
        )
    if _alike(pseudonym) in map(_alike, taken):
        return f"the name {pseudonym!r} in {OPTS_IN} is somebody's name or id, or taken; choose another"
    return ""


def _alike(name: str) -> str:
    return re.sub(r"[ _-]", "", name).casefold()


def board_folder(root: Path, assignment: str) -> Path:
    """Return where the board of an assignment is kept; what may be published lies in `page` there."""
    return folder_alike(results_folder(root, assignment) / "leaderboard")


def load(root: Path, assignment: str) -> Board:
    """Return what was measured so far; nothing where it cannot be read, which is then measured again."""
    try:
        data = json.loads((board_folder(root, assignment) / "measured.json").read_text(encoding="utf-8"))
        kinds = {
            kind: {check: {one["student"]: Measured(**one) for one in some} for check, some in checks.items()}
            for kind, checks in data["kinds"].items()
        }
        return Board(dict(data["labels"]), kinds)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Board()


def save(root: Path, assignment: str, board: Board) -> None:
    """Keep `board` in place of the one before."""
    kinds: Mapping[str, object] = {
        kind: {check: [asdict(one) for one in some.values()] for check, some in checks.items()}
        for kind, checks in board.kinds.items()
    }
    text = json.dumps({"labels": board.labels, "kinds": kinds}, indent=1)
    write_whole(board_folder(root, assignment) / "measured.json", text + "\n")
