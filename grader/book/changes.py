"""What a class would gain or lose by grading it anew: two results of each student, compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from grader.book.results import Graded
from grader.examine.report import UNSETTLED


@dataclass(frozen=True)
class Change:
    """What would be another for one student; `before` is None where there is no grade yet."""

    shown: str
    before: float | None
    after: float
    what: list[str] = field(default_factory=list)  # a sentence per verdict that differs
    waits: bool = False  # for a person to settle, who did not have to before

    @property
    def gain(self) -> float:
        """Points more, negative where they are less."""
        return self.after - (self.before or 0.0)


def changes(before: Iterable[Graded], after: Iterable[Graded]) -> list[Change]:
    """Return what differs between two results of a class, who loses most first, and leave out who stays the same.

    Points are after late penalties, and with those given by hand, which no run changes.
    """
    known = {result.student: result for result in before}
    found = []
    for result in after:
        old = known.get(result.student)
        if old is not None and old.error and not old.reports and not old.cells:
            old = None  # never graded
        what = ["not graded yet"] if old is None else [*_verdicts(old, result)]
        if result.error:
            what = [result.error]
        waits = bool(set(result.for_a_person) - set(old.for_a_person if old else ()))
        change = Change(result.shown, None if old is None else old.score, result.score, what, waits)
        if result.error or what or waits or abs(change.gain) > 1e-9:
            found.append(change)
    return sorted(found, key=lambda change: (change.gain, change.shown))


def _verdicts(old: Graded, new: Graded) -> Iterator[str]:
    """Yield a sentence for each verdict that is another: of checks, then of tests of plain notebooks."""
    for notebook in {**old.reports, **new.reports}:
        were, are = (
            {check.name: check for check in side.reports[notebook].checks} if notebook in side.reports else {}
            for side in (old, new)
        )
        for name in {**were, **are}:
            was, now = were.get(name), are.get(name)
            if now is None:
                yield f"{name} is gone"
            elif was is None or was.verdict != now.verdict:
                told = f": {now.why}" if now.verdict == "fail" or now.verdict in UNSETTLED else ""
                yield f"{name}, {was.verdict if was else 'new'} -> {now.verdict}{told}"
    for place in {**old.whys, **new.whys}:
        cell = old.cells.get(place)
        # A reason of a run that somebody has graded over since is none.
        failed = place in old.whys and not (cell and cell.auto_score and cell.auto_score >= cell.max_score)
        if place not in new.whys and failed:
            yield f"{place[0]}, {place[1]}, fail -> pass"
        elif place in new.whys and not failed:
            yield f"{place[0]}, {place[1]}, pass -> fail: {new.whys[place]}"
        elif place in new.whys and old.whys[place] != new.whys[place] and _points(old, new):
            yield f"{place[0]}, {place[1]}: {new.whys[place]}"


def _points(old: Graded, new: Graded) -> bool:
    return abs(old.score - new.score) > 1e-9
