"""Which solutions of a class are alike, by copydetect's fingerprints (winnowing, Schleimer et al. 2003).

What was released does not count, nor does what many have alike: the usual solution. What is left is a hint for a
person, who reads both sides; nothing of it touches a grade.
"""

from __future__ import annotations

import io
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.book.nbgrader_course import NbCourse
from grader.book.records import results_folder
from grader.book.results import class_names
from grader.course import CourseError
from grader.lean import nbformat
from grader.notebooks.template import is_answer
from grader.pages import similar_page
from grader.pages.similar_page import Pair
from grader.safe.apart import Ended, call
from grader.whole_files import write_whole

if TYPE_CHECKING:
    from copydetect import CodeFingerprint

AT_LEAST = 0.5  # of one side that the other has too
LONGEST = 200_000  # characters of one solution
SHORTEST = 60  # characters that are left of one when names and released code are out: less is alike by chance
MOST_PAIRS = 200  # on the page
SECONDS = 20.0  # of processor time for the files of one student
# Fingerprints that so many have are the usual solution: half of the class, within these bounds.
_FEWEST, _MOST = 10, 50


@dataclass(frozen=True)
class Found:
    """What a comparison came to."""

    page: Path
    pairs: list[Pair]
    compared: int  # solutions
    left_out: list[str]  # a sentence on each solution that could not be compared


def similar(
    course_root: Path | str,
    assignment: str,
    *,
    at_least: float = AT_LEAST,
    progress: Callable[[str, int], None] | None = None,
) -> Found:
    """Compare the graded solutions of `assignment`, and write the page `.grader/<assignment>/similar.html`.

    Compared are files of the same name, and the answers in code of the same plain notebook. `at_least` is the share
    of one side that the other must have too. `progress` is called with each student and how many there are. Raises
    CourseError where nothing is graded, or copydetect is not installed.
    """
    try:
        import copydetect  # noqa: F401
    except ImportError:
        raise CourseError(
            "grader similar needs copydetect; run: pip install -r requirements-server.txt"
        ) from None
    course = NbCourse.open(course_root)
    gradebook = course.gradebook()
    try:
        names = class_names(gradebook)
    finally:
        gradebook.close()
    # Released code is read as a student of its own, in the same process: fingerprints are Python's hashes of a run.
    released = dict(solutions(course, assignment, course.path("release", ".", assignment)))
    students = [
        student
        for student in course.submissions(assignment)
        if course.path("autograded", student, assignment).is_dir()
    ]
    if not students:
        raise CourseError(f"no graded submission of {assignment} in {course.root}; run grader grade first")
    ordinary, left_out = _prints(released, "what was released")
    works: dict[str, dict[str, CodeFingerprint]] = defaultdict(dict)
    for student in students:
        shown = f"{names[student]} ({student})" if student in names else student
        texts = dict(solutions(course, assignment, course.path("autograded", student, assignment)))
        found, problems = _prints(texts, shown)
        left_out += problems
        for name, print_ in found.items():
            if name in ordinary:
                _without(print_, ordinary[name].hashes)
            works[name][shown] = print_
        if progress:
            progress(student, len(students))
    pairs = [pair for name in sorted(works) for pair in _pairs(name, works[name], at_least)]
    pairs.sort(key=lambda pair: (-max(pair.shares), -min(pair.shares), pair.file, pair.students))
    page = results_folder(course.root, assignment) / "similar.html"
    compared = sum(map(len, works.values()))
    write_whole(page, similar_page.render(assignment, pairs[:MOST_PAIRS], len(pairs), compared, left_out))
    return Found(page, pairs, compared, left_out)


def solutions(course: NbCourse, assignment: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each solution in a graded or released folder: modules of parts, answers of notebooks."""
    known = course.data.assignments.get(assignment) if course.data else None
    parts = {part.notebook: part for part in known.parts.values()} if known else {}
    for part in parts.values():
        for name in part.files:
            if (text := _text(folder / name)) is not None:
                yield name, text
    for path in sorted(folder.glob("*.ipynb")):
        if path.stem in parts or (text := _text(path, 64 * LONGEST)) is None:
            continue
        try:
            cells = nbformat.reads(text, as_version=4).cells
            answers = [cell.source for cell in cells if cell.cell_type == "code" and is_answer(cell)]
        except (ValueError, LookupError, TypeError, AttributeError):  # somebody else's file
            continue
        yield path.name, "\n\n".join(answers)


def _text(path: Path, most: int = LONGEST) -> str | None:
    """Return the text of a regular file, or as much of it as shows that it is too long."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(4 * most + 1).decode("utf-8-sig", "replace")
    except OSError:
        return None


def _prints(texts: Mapping[str, str], whose: str) -> tuple[dict[str, CodeFingerprint], list[str]]:
    """Return the fingerprints of one student's solutions, and a sentence on each that has none."""
    import numpy as np
    from copydetect import CodeFingerprint, defaults

    k = defaults.NOISE_THRESHOLD
    window = defaults.GUARANTEE_THRESHOLD - k + 1
    left = [
        f"{whose}, {name}: longer than {LONGEST} characters" for name in texts if len(texts[name]) > LONGEST
    ]
    # As pygments reads lines; it leaves out empty ones around a text, and places would then be wrong.
    wanted = {
        name: text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
        for name, text in texts.items()
        if len(text) <= LONGEST and text.strip()
    }
    try:
        cleaned = call("grader.safe.tokens:filtered", list(wanted.values()), seconds=SECONDS)
    except Ended as error:
        return {}, [*left, f"{whose}: {error}"]
    found = {}
    for (name, text), (code, offsets) in zip(wanted.items(), cleaned, strict=True):
        if len(code) < k:
            continue
        made = CodeFingerprint(name, k, window, filter=False, fp=io.StringIO(code))
        made.raw_code, made.offsets = text, np.array(offsets)
        found[name] = made
    return found, left


def _without(made: CodeFingerprint, hashes: set[int]) -> None:
    """Take out fingerprints that do not count, and what they cover."""
    from copydetect.utils import get_token_coverage

    made.hashes = made.hashes - hashes
    made.hash_idx = {one: places for one, places in made.hash_idx.items() if one in made.hashes}
    made.token_coverage = get_token_coverage(made.hash_idx, made.k, len(made.filtered_code))


def _pairs(name: str, works: dict[str, CodeFingerprint], at_least: float) -> Iterator[Pair]:
    """Yield the pairs of solutions of one name of which one side has `at_least` that share of the other's."""
    from copydetect import compare_files

    owners: dict[int, list[str]] = defaultdict(list)
    for student, made in works.items():
        for one in made.hashes:
            owners[one].append(student)
    usual = min(max(_FEWEST, len(works) // 2), _MOST)
    common = {one for one, some in owners.items() if len(some) >= usual}
    for made in works.values():
        _without(made, common)
    # Only those that share something are looked at: in a class of 5,000 there are 12 million pairs.
    shared: Counter[tuple[str, str]] = Counter()
    for one, some in owners.items():
        if one not in common:
            shared.update(combinations(sorted(some), 2))
    for (one, other), count in shared.items():
        mine, theirs = works[one], works[other]
        if min(mine.token_coverage, theirs.token_coverage) < SHORTEST:
            continue
        if count < at_least / 2 * min(len(mine.hashes), len(theirs.hashes)):
            continue
        _, shares, slices = compare_files(mine, theirs)
        if max(shares) >= at_least:
            sides = tuple(
                _marked(made.raw_code, each) for made, each in zip((mine, theirs), slices, strict=True)
            )
            yield Pair(name, (one, other), tuple(map(float, shares)), sides)


def _marked(text: str, slices: Any) -> list[tuple[str, bool]]:
    """Return a text in pieces, and whether each is one that the other side has too."""
    pieces, done = [], 0
    for start, end in sorted(zip(*slices.astype(int).tolist(), strict=True)):
        start, end = max(start, done), min(max(end, done), len(text))
        pieces += [(text[done:start], False), (text[start:end], True)]
        done = end
    pieces.append((text[done:], False))
    return [(piece, marked) for piece, marked in pieces if piece]
