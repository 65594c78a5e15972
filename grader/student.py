"""What a notebook of an assignment calls: `check("ring")` runs the public checks of one item."""

from __future__ import annotations

import atexit
import functools
from pathlib import Path

from IPython.display import display

from grader.course import CourseError
from grader.examine.examiner import Examiner
from grader.notebooks.verdicts import as_html, as_text
from grader.steps.done import keep
from grader.steps.pack import refuse_foreign_imports
from grader.steps.workspace import find


def check(item: str) -> None:
    """Run the public checks of `item` on the modules beside this notebook and show what they say.

    The same checks grade the submission, with hidden ones on other inputs. Where this machine can isolate a
    process the modules run in a sandbox. Raises CourseError for an item that the assignment does not have,
    outside a copy of an assignment, and where a module imports what is not there when it is graded.
    """
    folder = Path.cwd()
    assignment = find(folder)
    part = next((part for part in assignment.parts.values() if item in part.items), None)
    if part is None:
        items = ", ".join(name for part in assignment.parts.values() for name in part.items)
        raise CourseError(f"{item} is not an item of {assignment.name}; items: {items}")
    refuse_foreign_imports(folder, part)
    report = _examiner().examine(part, folder, hidden=False, items=[item], skip=True)
    display(
        {"text/plain": as_text(report.checks, hints=False), "text/html": as_html(report.checks)}, raw=True
    )
    for note in filter(None, [*report.notes, keep(folder, part, report, hidden=False)]):
        print(f"note: {note}")


@functools.cache
def _examiner() -> Examiner:
    """Return the kernel's examiner: its start imports torch, which takes seconds."""
    examiner = Examiner()
    atexit.register(examiner.close)
    return examiner
