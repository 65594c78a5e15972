"""What nbgrader makes of the outputs of cells that ran, and what of that an instructor must hear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grader.notebooks.plan import is_test
from grader.notebooks.template import grade_id
from grader.text import plain

if TYPE_CHECKING:
    from grader.lean import nbformat
    from grader.notebooks.run import Executed


def verdicts_of(cells: list[nbformat.NotebookNode], ran: Executed) -> dict[str, Any]:
    """Return {id: (verdict, seconds)} of the cells that have an id; see `verdict_of`."""
    found = zip(cells, ran.outputs, ran.seconds, strict=True)
    return {
        grade_id(cell): (verdict_of(outputs), seconds) for cell, outputs, seconds in found if grade_id(cell)
    }


def verdict_of(outputs: list[dict[str, Any]]) -> str:
    """Return what nbgrader makes of a test cell: `failed`, `passed`, or the number of points it shows."""
    for output in outputs:
        kind = output.get("output_type")
        if kind == "error" or (kind == "stream" and output.get("name") == "stderr"):
            return "failed"
        if kind == "execute_result":
            try:
                return str(float(output["data"]["text/plain"]))
            except (ValueError, KeyError, TypeError):
                return "passed"
    return "passed"


def reason_of(outputs: list[dict[str, Any]]) -> str:
    """Return what the first error of a cell says, the empty string where there is none."""
    for output in outputs:
        if output.get("output_type") == "error":
            text = f"{output['ename']}: {output['evalue']}".removeprefix("CannotCross: ")
            return plain(text.strip().removesuffix(":"), 300)
    return ""


def lost(cells: list[nbformat.NotebookNode], ran: Executed) -> dict[str, str]:
    """Return, for each test that gives less than all its points, how many it gives, and why."""
    found = {}
    for cell, outputs in zip(cells, ran.outputs, strict=True):
        if not is_test(cell):
            continue
        most, verdict = float(cell.metadata.nbgrader.get("points", 0)), verdict_of(outputs)
        earned = {"passed": most, "failed": 0.0}.get(verdict)
        earned = float(verdict) if earned is None else earned
        if earned < most:
            why = reason_of(outputs) or _said_on_stderr(outputs)
            found[grade_id(cell)] = f"{earned:g} of {most:g} points{f' ({why})' if why else ''}"
    return found


def over(cells: list[nbformat.NotebookNode], ran: Executed) -> dict[str, str]:
    """Return, for each test that shows a number above its points, that number and its points."""
    found = {}
    for cell, outputs in zip(cells, ran.outputs, strict=True):
        most, verdict = float(cell.metadata.get("nbgrader", {}).get("points", 0)), verdict_of(outputs)
        if is_test(cell) and verdict not in ("passed", "failed") and float(verdict) > most:
            found[grade_id(cell)] = f"{float(verdict):g}, and is worth {most:g}"
    return found


def raised(cells: list[nbformat.NotebookNode], ran: Executed) -> dict[str, str]:
    """Return, for each cell of the reference that is no test and ends with an error it should not, what that says."""
    found = {}
    for number, (cell, outputs) in enumerate(zip(cells, ran.outputs, strict=True), 1):
        meant = "raises-exception" in cell.metadata.get("tags", ())
        if not is_test(cell) and not meant and (why := reason_of(outputs)):
            found[grade_id(cell) or f"number {number}"] = why
    return found


def _said_on_stderr(outputs: list[dict[str, Any]]) -> str:
    said = "".join(output["text"] for output in outputs if output.get("name") == "stderr").strip()
    return f"it prints to stderr: {plain(said.splitlines()[-1], 200)}" if said else ""
