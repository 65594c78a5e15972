"""Measures who takes part in the leaderboard, as far as it is not known, and writes the page and its JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.book import board as boards
from grader.book import records
from grader.book.board import Board, Measured
from grader.book.keys import check_digests, digest_of
from grader.book.nbgrader_course import NbCourse
from grader.book.results import class_names
from grader.course import CourseError, Part
from grader.pages import board_page
from grader.sandbox.packed import Packed
from grader.whole_files import folder_alike, write_whole

if TYPE_CHECKING:
    from grader.examine.checks import Check
    from grader.examine.examiner import Examiner


@dataclass
class Result:
    """What became of a board: its page and JSON, how many take part, how many races were run, and what to tell."""

    page: Path
    data: Path
    entrants: int = 0
    raced: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Race:
    """A check with a floor, and what a result of it follows from besides the submission."""

    part: Part
    check: Check
    digest: str

    @property
    def name(self) -> str:
        return f"{self.part.notebook}/{self.check.name}"


def leaderboard(
    course_root: Path | str,
    assignment: str,
    *,
    students: Iterable[str] | None = None,
    again: bool = False,
    to: Path | None = None,
    isolation: str = "namespaces",
    progress: Callable[[str, int], None] | None = None,
) -> Result:
    """Race everybody who takes part in `assignment` and has the points of the check, and write the board.

    Raced is what is not known of this kind of machine, and `again` all, or all of `students`. One after the other,
    since each race needs the processors: stop what else runs. The page and `board.json` are written to `to`, by
    default `.grader/<assignment>/leaderboard/page`. `progress` is called with each student and how many there are.
    Raises CourseError where no check has a floor, or a name in `students` has not handed in.
    """
    from effdl import device
    from grader.examine.examiner import Examiner

    course = NbCourse.open(course_root)
    races = _races(course, assignment)
    folders = course.submissions(assignment)
    if unknown := sorted(set(students or ()) - folders.keys()):
        raise CourseError(f"no submission of {assignment} by {', '.join(unknown)}; collect it first")
    gradebook = course.gradebook()
    try:
        names = class_names(gradebook)
    finally:
        gradebook.close()
    if to is not None and not to.is_dir():
        raise CourseError(f"{to}: no such folder; make it, or leave --to out")
    target = to or folder_alike(boards.board_folder(course.root, assignment) / "page")
    result = Result(target / "index.html", target / "board.json")
    with records.only_one(course.root):
        board = boards.load(course.root, assignment)
        known = _pseudonyms(course, folders, board, [*folders, *names, *names.values()], result.notes)
        result.entrants = len(known)
        _drop(board, known, races)
        kind = device.kind()
        board.labels[kind] = device.kind_label()
        wanted = known if students is None else {one: known[one] for one in students if one in known}
        todo = [
            (student, race)
            for student in wanted
            for race in races
            if _must_race(course, assignment, student, race, board.of(kind, race.name), again, result.notes)
        ]
        if todo:
            with Examiner(isolation) as examiner:
                for student, race in todo:
                    packed = _packed(course, assignment, student)
                    found = _measure(examiner, packed, race, student, known[student], result.notes)
                    if found is not None:
                        board.of(kind, race.name)[student] = found
                        result.raced += 1
                        boards.save(
                            course.root, assignment, board
                        )  # a race takes a minute; none is run in vain
                    if progress:
                        progress(student, len(todo))
        boards.save(course.root, assignment, board)
    # Of a hidden check students see no specification, here neither.
    titles = {race.name: (race.check.item, "" if race.check.hidden else race.check.spec) for race in races}
    page, data = board_page.render(assignment, board, titles, kind)
    write_whole(result.page, page)
    write_whole(result.data, data)
    return result


def _races(course: NbCourse, assignment: str) -> list[_Race]:
    from grader.examine.examiner import checks_of

    known = course.data.assignments.get(assignment) if course.data else None
    if known is None:
        raise CourseError(f"{assignment} is not an assignment of course.toml in {course.root}")
    races = []
    for part in known.parts.values():
        digests = check_digests(part)
        races += [_Race(part, check, digests[check.name]) for check in checks_of(part) if check.floor]
    if not races:
        raise CourseError(
            f"no check of {assignment} has a floor, so there is nothing to rank; write @check(..., floor=...)"
        )
    return races


def _pseudonyms(
    course: NbCourse, folders: dict[str, Path], board: Board, names: list[str], notes: list[str]
) -> dict[str, str]:
    """Return the pseudonym of everybody who takes part. Who had a name before others keeps it."""
    before = {
        one.student: one.pseudonym
        for checks in board.kinds.values()
        for some in checks.values()
        for one in some.values()
    }
    asked = {}
    for student, folder in folders.items():
        with contextlib.closing(Packed(folder, [boards.OPTS_IN], others=False)) as packed:
            if (pseudonym := boards.pseudonym_of(packed)) is not None:
                asked[student] = pseudonym
    found: dict[str, str] = {}
    for student in sorted(asked, key=lambda one: (before.get(one) != asked[one], one)):
        if told := boards.refusal(asked[student], [*names, *found.values()]):
            notes.append(f"{student}: {told}")
        else:
            found[student] = asked[student]
    return dict(sorted(found.items()))


def _drop(board: Board, known: dict[str, str], races: list[_Race]) -> None:
    """Take out who takes part no more and what is raced no more, and give the others the names of now."""
    names = {race.name for race in races}
    for checks in board.kinds.values():
        for name in list(checks):
            kept = {
                student: replace(one, pseudonym=known[student])
                for student, one in checks[name].items()
                if student in known and name in names
            }
            checks[name] = kept
            if not kept:
                del checks[name]


def _must_race(
    course: NbCourse,
    assignment: str,
    student: str,
    race: _Race,
    known: dict[str, Measured],
    again: bool,
    notes: list[str],
) -> bool:
    """Return whether a race is to be run; what no longer stands is taken out of `known`."""
    record = records.load(course.root, assignment, student)
    report = record.report(race.part.notebook) if record else None
    verdicts = [check.verdict for check in report.checks if check.name == race.check.name] if report else []
    with_points = verdicts == ["pass"]
    kept: dict[str, Any] = record.keys.get(race.part.notebook, {}).get(race.check.name, {}) if record else {}
    with contextlib.closing(_packed(course, assignment, student)) as packed:
        # What a verdict of a part was reached on: Key.submission is the digest of all files that a worker sees.
        graded = with_points and kept.get("submission") == packed.digest
        follows = digest_of(packed.digest, race.digest)
    if not graded:
        known.pop(student, None)
        why = f"its verdict is {verdicts[0]}" if verdicts and not with_points else "not graded as it is now"
        notes.append(f"{student}, {race.check.name}: not raced, {why}")
        return False
    if student in known and known[student].follows != follows:
        del known[student]
    return again or student not in known


def _packed(course: NbCourse, assignment: str, student: str) -> Packed:
    """Return the files of a submission as grading reads them, so that their digest is the one of its verdicts."""
    parts = course.data.assignments[assignment].parts.values() if course.data else ()
    return Packed(course.submissions(assignment)[student], [name for part in parts for name in part.files])


def _measure(
    examiner: Examiner, packed: Packed, race: _Race, student: str, pseudonym: str, notes: list[str]
) -> Measured | None:
    from grader.examine.standing import Entrant

    entrants: list[Entrant] = []

    def make(*args: Any, **options: Any) -> Entrant:
        entrants.append(Entrant(*args, **options))
        return entrants[-1]

    with contextlib.closing(packed):
        report = examiner.examine(race.part, packed, names=[race.check.name], submission=make)
        follows = digest_of(packed.digest, race.digest)
    (check,) = report.checks
    standing = entrants[-1].standing if entrants else None
    if check.verdict != "pass" or standing is None:
        why = check.why or "the check compares no times"
        notes.append(f"{student}, {race.check.name}: no place, {check.verdict}: {why}")
        return None
    share, times = standing.share(), standing.times()
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    return Measured(student, pseudonym, share.ratio, share.low, share.high, times.ratio, now, follows)
