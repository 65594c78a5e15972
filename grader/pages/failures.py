"""How a class failed: each check with its usual reason, and each way of failing with the students who share it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grader.book.records import Record
    from grader.book.results import Graded
    from grader.examine.report import Report

# What differs from one student to the next where the mistake is the same: what is quoted, and numbers.
_QUOTED = re.compile(r"'[^'\n]{0,300}'|\"[^\"\n]{0,300}\"|`[^`\n]{0,300}`")
_NUMBER = re.compile(
    r"(?<![A-Za-z_])[-+]?(?:0x[0-9a-f]+|\d[\d_]*(?:[.,]\d+)*(?:e[-+]?\d+)?|(?:nan|inf)\b)", re.IGNORECASE
)
_SEVERAL = re.compile(r"#(?:, #)+")
_RANK = re.compile(r"\branks? # ")  # which of them, and whether there were any


@dataclass
class CheckCount:
    """How a check, or a graded cell of a plain notebook, went for the class."""

    name: str
    passed: int = 0
    failed: int = 0
    undecided: int = 0
    forgeable: str = ""
    whys: Counter[str] = field(default_factory=Counter)

    @property
    def usual(self) -> tuple[str, int]:
        """The most frequent reason and how often it was one, other numbers and quotes aside; nothing for none."""
        shapes: Counter[str] = Counter()
        for why, count in self.whys.items():
            shapes[shape(why)] += count
        if not shapes:
            return "", 0
        most, count = min(shapes.items(), key=lambda one: (-one[1], one[0]))
        return min(
            (why for why in self.whys if shape(why) == most), key=lambda why: (-self.whys[why], why)
        ), count


@dataclass
class Way:
    """One way of failing: where, what was said, and who failed so."""

    where: str
    says: Counter[str] = field(default_factory=Counter)  # each wording, by how many students got it
    checks: dict[str, None] = field(default_factory=dict)  # in the order in which they were met
    students: dict[str, str] = field(default_factory=dict)  # the name that is shown, and a link or nothing
    past: int = 0  # students of earlier years

    @property
    def shared(self) -> bool:
        """Whether more than one student failed so."""
        return len(self.students) > 1

    @property
    def sentence(self) -> str:
        """The most frequent wording; among equals the first in the alphabet, so that a page stays as it is."""
        return min(self.says, key=lambda why: (-self.says[why], why))


def check_counts(graded: Sequence[Graded]) -> list[CheckCount]:
    """Return how each check went, the most failed first; of notebooks without checks, each graded cell."""
    counts: dict[tuple[str, str], CheckCount] = {}
    for result in graded:
        for notebook, report in result.reports.items():
            for check in report.checks:
                label = f"{check.item}: {check.name}" + (" (hidden)" if check.hidden else "")
                count = counts.setdefault((notebook, check.name), CheckCount(label))
                count.forgeable = check.forgeable
                if check.verdict == "pass":
                    count.passed += 1
                elif check.verdict == "fail":
                    count.failed += 1
                    count.whys[check.why] += 1
                else:
                    count.undecided += 1
        for (notebook, name), cell in result.cells.items():
            if notebook in result.reports or cell.auto_score is None or not cell.max_score:
                continue
            count = counts.setdefault((notebook, name), CheckCount(f"{notebook}: {name}"))
            if cell.auto_score >= cell.max_score:
                count.passed += 1
            else:
                count.failed += 1
                if why := result.whys.get((notebook, name)):
                    count.whys[why] += 1
    return sorted(counts.values(), key=lambda count: (-count.failed, -count.undecided, count.name))


def ways_of_failing(
    graded: Sequence[Graded], links: dict[tuple[str, str], str], past: Iterable[Record] = ()
) -> list[Way]:
    """Return the ways in which checks and tests failed, the most students first.

    Reasons of one item that differ only in numbers and in what they quote are one way, whichever of the item's
    checks said them; a student counts once. `links` are formgrader's pages by student and notebook. Of `past`,
    records of earlier years, it is counted how many students failed so.
    """
    ways: dict[tuple[str, str, str], Way] = {}
    for result in graded:
        for notebook, item, check, why in _failures(result.reports, _failed_now(result)):
            way = ways.setdefault((notebook, item, shape(why)), Way(f"{notebook}: {item}"))
            if result.shown not in way.students:
                way.says[why] += 1
            way.students[result.shown] = links.get((result.student, notebook), "")
            way.checks[check] = None
    for record in past:
        reports = {name: report for name in record.reports if (report := record.report(name)) is not None}
        for one in {
            (notebook, item, shape(why))
            for notebook, item, _, why in _failures(reports, record.whys_by_cell())
        }:
            if one in ways:
                ways[one].past += 1
    return sorted(ways.values(), key=lambda way: (-len(way.students), way.where, way.sentence))


def _failures(
    reports: Mapping[str, Report], whys: Mapping[tuple[str, str], str]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield (notebook, item, check, why) of each failed check, and of each failed test of a plain notebook."""
    for notebook, report in reports.items():
        for check in report.checks:
            if check.verdict == "fail":
                yield (
                    notebook,
                    check.item,
                    f"{check.name} (hidden)" if check.hidden else check.name,
                    check.why,
                )
    for (notebook, name), why in whys.items():
        yield notebook, name, "", why


def _failed_now(result: Graded) -> dict[tuple[str, str], str]:
    """Return the reasons of tests that have not got their points since, from a run of nbgrader's own."""
    return {
        place: why
        for place, why in result.whys.items()
        if (cell := result.cells.get(place)) is not None
        and cell.auto_score is not None
        and cell.auto_score < cell.max_score
    }


def shape(why: str) -> str:
    """Return a reason without what differs between students who made the same mistake."""
    same = _SEVERAL.sub("#", _NUMBER.sub("#", _QUOTED.sub("'...'", why)))
    return " ".join(_RANK.sub("", same).split())
