"""The points that a cell of a plain notebook earns, by nbgrader's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grader.text import plain

if TYPE_CHECKING:
    from logging import Logger

    from grader.lean import nbformat


def automatic_points(cell: nbformat.NotebookNode, log: Logger | Any = None) -> tuple[float | None, str]:
    """Return the points of a graded cell, None where a person gives them; and what is wrong with what it shows.

    nbgrader takes what a test returns for its points, and gives up on a submission where that is more than the test
    is worth, or has no text. Here such a cell waits for a person.
    """
    from nbgrader.utils import determine_grade

    try:
        return determine_grade(cell, log)[0], ""
    except (ValueError, KeyError):
        shown = next(output for output in cell.outputs if output.output_type == "execute_result")
        text = plain(shown.get("data", {}).get("text/plain", ""), 40) or "a value without a text"
        worth = f"{float(cell.metadata.nbgrader.points):g}"
        return None, f"shows {text}, which is no number of points from 0 to {worth}"
