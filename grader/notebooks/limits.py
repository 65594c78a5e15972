"""How long the cells of a plain notebook may run, in seconds, before what a slow machine adds to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grader.lean import nbformat

    Seconds = (
        float | Callable[[nbformat.NotebookNode], float]
    )  # one limit for all cells, or what it is for each

USUAL = 30.0  # of a cell, where nobody says otherwise: nbgrader's own
WHOLE = 300.0  # of a whole notebook, with the usual limit for each cell
NO_LIMIT = 24 * 3600.0  # where nbgrader would wait for ever


def of_cells(seconds: Seconds, cells: Iterable[nbformat.NotebookNode]) -> list[float]:
    """Return the limit of each of `cells`."""
    return [seconds(cell) if callable(seconds) else seconds for cell in cells]


def of_all(seconds: Sequence[float]) -> float:
    """Return the limit of a whole notebook whose cells have these limits.

    A course that gives a cell more time than usual gives the notebook more in proportion.
    """
    return min(NO_LIMIT, WHOLE * max([1.0, *(limit / USUAL for limit in seconds)]))
