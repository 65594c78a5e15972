"""The page of solutions that are alike: both sides of each pair, as text that no browser takes for anything else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from grader.text import plain

_SHOWN = 40_000  # characters of one side
# What would turn the order of a line round, or hide in it, stands as it is written in Python.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


@dataclass(frozen=True)
class Pair:
    """Two solutions of one name: whose, the share of each that the other has, and both in pieces (text, alike)."""

    file: str
    students: tuple[str, str]
    shares: tuple[float, float]
    sides: tuple[list[tuple[str, bool]], list[tuple[str, bool]]]


def render(assignment: str, pairs: list[Pair], found: int, compared: int, left_out: list[str]) -> str:
    """Return the page on the `pairs` that are shown, of all that were `found` among so many `compared` solutions."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
    return environment.get_template("similar.html.j2").render(
        assignment=assignment,
        written=f"{datetime.now():%Y-%m-%d %H:%M}",
        pairs=[(pair, [list(_cut(side)) for side in pair.sides]) for pair in pairs],
        found=found,
        compared=compared,
        left_out=[plain(told, 300) for told in left_out],
    )


def _cut(side: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    shown, room = [], _SHOWN
    for text, marked in side:
        shown.append((_HIDDEN.sub(lambda one: f"\\u{ord(one[0]):04x}", text[:room]), marked))
        room -= len(text)
        if room <= 0:
            return [*shown, ("\n... (cut)", False)]
    return shown
