"""The points that a cell of a plain notebook earns, by nbgrader's rules."""

from __future__ import annotations

import re
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


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ARROW = re.compile(r"^-+> *\d+ (?P<code>.*)$", re.MULTILINE)  # before the line of a traceback that raised
_LONGEST = 200  # characters of a reason


def why_failed(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Return why each test of a graded plain notebook did not get all its points, in one line, by its id.

    The words may be a student's: escape them. What a person grades, and what earned its points, is left out.
    """
    found = {}
    for cell in notebook.cells:
        role = cell.metadata.get("nbgrader", {})
        if cell.cell_type != "code" or not role.get("grade") or role.get("solution"):
            continue
        points, wrong = automatic_points(cell)
        if points is None and not wrong:
            continue
        if points is None or points < float(role["points"]):
            found[role["grade_id"]] = wrong or _why(cell, points or 0.0)
    return found


def _why(cell: nbformat.NotebookNode, points: float) -> str:
    for output in cell.outputs:
        if output.output_type == "error":
            name, value = plain(output.get("ename"), 60), plain(output.get("evalue"), _LONGEST).strip()
            if value:
                return plain(f"{name}: {value}", _LONGEST)
            # A bare assert says nothing; the line that raised does.
            raised = _ARROW.findall(_COLOURS.sub("", "\n".join(map(str, output.get("traceback", ())))))
            return plain(f"{name} in: {raised[-1].strip()}", _LONGEST) if raised else name
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            return plain(f"printed to stderr: {output.text.strip()}", _LONGEST)
    return f"earned {points:g} of {float(cell.metadata.nbgrader.points):g} points"
