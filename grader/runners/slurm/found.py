"""What a task has found, in the place of an examiner: the rest of grading goes the way of the local runner."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from grader.examine.report import Report

if TYPE_CHECKING:
    from grader.course import Part
    from grader.runners.slurm.rounds import Answer
    from grader.runners.work import Work
    from grader.sandbox.packed import Packed


class Stale(Exception):
    """What was examined is not what is asked now."""


class Found:
    """Says of a submission what `answer` says. It runs nothing, and raises Stale where it has no answer."""

    def __init__(self, answer: Answer | None, work: Work):
        self._answer, self._work, self.place = answer, work, self

    def take_peak_memory(self) -> int:
        """Return the peak memory of the jobs, in bytes; 0 if unknown."""
        return self._answer.memory if self._answer else 0

    def take_waited(self) -> float:
        """Return 0: it waits for nobody."""
        return 0.0

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Let it be anybody's turn: what runs has run."""
        return contextlib.nullcontext()

    def examine(self, part: Part, folder: Packed, *, names: set[str] | None = None) -> Report:
        """Return the report on these very files and checks (None: all of the part)."""
        if self._answer is None or folder.digest != self._answer.digest:
            raise Stale
        report = Report.from_json(json.dumps(self._answer.reports.get(part.notebook, {"checks": []})))
        wanted = self._work.shared.keys[part.notebook].keys() if names is None else names
        if {check.name for check in report.checks} != set(wanted):
            raise Stale
        return report
