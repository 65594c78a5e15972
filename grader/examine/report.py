"""Verdicts: on one check, and on all checks of a part."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

# No points, and none lost for good: a second run did not settle it, the check itself broke, or this machine cannot
# measure what it asks for.
UNSETTLED = ("undecided", "error", "not measured")


@dataclass(frozen=True)
class CheckResult:
    """The verdict on one check, with the evidence for it. Texts may come from a submission: escape them."""

    name: str
    item: str
    points: float
    max_points: float
    verdict: str  # pass, fail, or one of UNSETTLED; skipped, where nobody grades
    why: str
    measured: list[dict[str, Any]] = field(default_factory=list)
    hint: str = ""
    hidden: bool = False
    spec: str = ""
    yours: str = ""
    expected: str = ""
    forgeable: str = ""
    wall: float = 0.0  # seconds
    timed_out: bool = False  # the submission did not answer in time, or stood still
    output: list[str] = field(default_factory=list)  # the last lines that its ranks printed
    told: list[str] = field(default_factory=list)  # what a student may read where the check is hidden


@dataclass
class Report:
    """Every verdict on one submission of one part, and what an instructor should know besides."""

    checks: list[CheckResult]
    notes: list[str] = field(default_factory=list)
    isolation: str = ""
    seed: int = 0

    @property
    def not_measured(self) -> float:
        """What the checks are worth that this machine could not measure."""
        return sum(check.max_points for check in self.checks if check.verdict == "not measured")

    def points(self, item: str) -> float:
        """Return the points that the submission earned for `item`."""
        return sum(check.points for check in self.checks if check.item == item)

    def max_points(self, item: str) -> float:
        """Return the points that `item` is worth."""
        return sum(check.max_points for check in self.checks if check.item == item)

    @property
    def total(self) -> float:
        return sum(check.points for check in self.checks)

    def to_json(self) -> str:
        """Return the report as JSON; the seed in it would let a submission foresee its inputs."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        data = json.loads(text)
        return cls(**{**data, "checks": [CheckResult(**check) for check in data["checks"]]})
