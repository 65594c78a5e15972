"""The leaderboard for students: a page that needs no network, and the same as JSON. Pseudonyms only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grader.book.board import Board, ranked


def render(assignment: str, board: Board, titles: dict[str, tuple[str, str]], here: str) -> tuple[str, str]:
    """Return the page and the JSON of what may be published of a board.

    `titles` are item and, where students may read it, specification of each race, by "notebook/check"; the kind of
    machine `here` comes first.
    """
    from jinja2 import Environment, FileSystemLoader

    kinds = []
    for kind in sorted(board.kinds, key=lambda kind: (kind != here, kind)):
        tables = [
            _table(titles[name], board.kinds[kind][name]) for name in titles if board.kinds[kind].get(name)
        ]
        if tables:
            kinds.append({"kind": kind, "machine": board.labels.get(kind, kind), "boards": tables})
    data = {"assignment": assignment, "confidence": 0.98, "kinds": kinds}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
    page = environment.get_template("leaderboard.html.j2").render(**data)
    return page.rstrip() + "\n", json.dumps(data, indent=1) + "\n"


def _table(title: tuple[str, str], entries: dict[str, Any]) -> dict[str, Any]:
    shown = ranked(entries.values())
    ranks = [rank for rank, _ in shown]
    return {
        "item": title[0],
        "asks": title[1],
        "entrants": len(entries),
        "ranked": [
            {
                "rank": rank,
                "tie": ranks.count(rank) > 1,
                "name": entry.pseudonym,
                "share": round(entry.share, 4),
                "low": round(entry.low, 4),
                "high": round(entry.high, 4),
                "times": round(entry.times, 3),
                "measured": entry.measured,
            }
            for rank, entry in shown
        ],
    }
