"""One submission into the course, wherever it came from."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from grader.book.nbgrader_course import NbCourse
from grader.course import CourseError
from grader.notebooks.reading import LARGE_NOTEBOOK, without_outputs
from grader.steps.collect.archives import kind_of_archive, unzip
from grader.steps.collect.nested import open_zips
from grader.steps.collect.ours import refuse_own
from grader.steps.collect.room import UNUSABLE, Collected, Refused, Room, composed, files_of, tripped
from grader.text import plain
from grader.tree import STAMP, summed_up

_NAMED = 5  # files, where another is missing
_STUDENT = re.compile(r"[^\W_][\w.@+-]{0,63}")  # letters and digits of any script


def expected_files(course: NbCourse, assignment: str) -> set[str]:
    """Return the names of the notebooks and modules that a submission should hold."""
    expected = {path.name for path in course.path("release", ".", assignment).glob("*.ipynb")}
    expected |= {path.name for path in course.path("source", ".", assignment).glob("*.ipynb")}
    known = course.data.assignments.get(assignment) if course.data else None
    if not expected and known is None:
        raise CourseError(
            f"{assignment}: no notebook in source or release of {course.root}; release it first"
        )
    return expected | {name for part in (known.parts.values() if known else ()) for name in part.files}


def check_student(name: str) -> str:
    """Return `name`, composed (NFC), where it can be a student's id; raises Refused for a path or an option."""
    name = composed(name)
    if not _STUDENT.fullmatch(name) or ".." in name or len(os.fsencode(name)) > 200:
        told = plain(name, 80)
        raise Refused(f"{told!r} is no student id; use letters, digits and . _ @ + -, at most 64 of them")
    return name


def take_submission(
    course: NbCourse,
    assignment: str,
    path: Path,
    expected: set[str],
    own: list[tuple[str, str]],
    result: Collected,
) -> None:
    """Copy one submission into the course, or say in `result` why not; `own` is what `own_texts` returns."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if path.is_file():
                result.notes += unzip(path, Path(scratch), Room(expected))
                path = Path(scratch)
            files = files_of(path, Room(expected), result.notes)
            files = open_zips(files, expected, Path(scratch), result.notes)
            _install(course, assignment, files, expected, own, result)
    except Refused as error:
        result.refused = str(error)
    except CourseError:
        raise
    except Exception as error:  # one submission that trips us must not stop the class
        result.refused = tripped(error)


def _top_folder(names: list[PurePosixPath], expected: set[str]) -> str:
    """Return the folder that holds most of the expected files, the shallowest of several."""
    counts: dict[PurePosixPath, int] = {}
    for name in names:
        if name.name in expected:
            counts[name.parent] = counts.get(name.parent, 0) + 1
    if not counts:
        return "."
    return str(max(counts, key=lambda folder: (counts[folder], -len(folder.parts), str(folder))))


def _install(
    course: NbCourse,
    assignment: str,
    files: dict[str, Path],
    expected: set[str],
    own: list[tuple[str, str]],
    result: Collected,
) -> None:
    target = course.path("submitted", result.student, assignment)
    top = _top_folder([PurePosixPath(name) for name in files], expected)
    chosen = {
        str(PurePosixPath(name).relative_to(top)): file
        for name, file in files.items()
        if top == "." or PurePosixPath(name).is_relative_to(top)
    }
    for name in sorted(expected - chosen.keys()):
        elsewhere = [other for other in files if PurePosixPath(other).name == name]
        if len(elsewhere) == 1:
            chosen[name] = files[elsewhere[0]]
            result.notes.append(f"{name} was taken from {plain(elsewhere[0], 80)}")
    taken = set(chosen.values())
    outside = [name for name, file in files.items() if file not in taken]
    told = f"not taken, what was asked for lies in {plain(top, 80)}"
    result.notes += summed_up([f"{plain(name, 80)}: {told}" for name in outside], f"files: {told}")
    copies = [name for name in chosen if name not in expected and PurePosixPath(name).name in expected]
    result.notes += summed_up(
        [f"{plain(name, 80)}: does not count, {PurePosixPath(name).name} does" for name in copies],
        "copies that do not count",
    )
    for folder in ("checks", STAMP):  # `grader check` runs the one; the other is a file of ours
        if inside := [name for name in chosen if name.casefold().startswith(f"{folder}/")]:
            result.notes.append(f"the folder {folder} is not taken; the course has its own")
            chosen = {name: file for name, file in chosen.items() if name not in inside}
    if not chosen:
        raise Refused("holds no files")
    refuse_own(own, chosen)
    course.close_step("submitted")
    if target.exists():
        result.notes.append("replaces an earlier submission")
        shutil.rmtree(target)
    failed = [name for name, file in chosen.items() if not _put(file, target / name, result.notes)]
    result.notes += summed_up([f"{plain(name, 80)}: {UNUSABLE}" for name in failed], "such names")
    result.files = len(chosen) - len(failed)
    have = {path.name for path in target.iterdir() if path.is_file()}
    if expected - have:
        result.notes += _archives(chosen)
    for name in sorted(expected - have):
        result.notes.append(_missing(name, chosen, expected))
        released = course.path("release", ".", assignment) / name
        if name.endswith(".ipynb") and released.is_file() and not (target / name).exists():
            # nbgrader passes over a submission without notebooks; the modules in it still count.
            shutil.copyfile(released, target / name)
    (target / STAMP).write_text(f"{result.timestamp:%Y-%m-%d %H:%M:%S} UTC\n")


def _put(file: Path, place: Path, notes: list[str]) -> bool:
    """Copy one file, a large notebook without its outputs; return False where it cannot have that name."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        size = file.stat().st_size
        if place.suffix == ".ipynb" and size > LARGE_NOTEBOOK:
            place.write_bytes(without_outputs(file))
            notes.append(f"{plain(place.name, 80)}: {size >> 20} MiB, its outputs were dropped")
        else:
            shutil.copyfile(file, place)
    except ValueError as error:
        notes.append(f"{plain(place.name, 80)}: {size >> 20} MiB and not taken ({error}); clear its outputs")
    except OSError:
        return False
    return True


def _archives(files: dict[str, Path]) -> list[str]:
    """Return a note on each file in which the missing ones may be, and which is not opened here."""
    kinds = {name: kind_of_archive(name, path) for name, path in files.items()}
    told = [
        f"{plain(name, 80)}: an archive ({kind}) that is not unpacked; unpack it, or ask for a zip file"
        for name, kind in kinds.items()
        if kind
    ]
    return summed_up(told, "archives that are not unpacked")


def _missing(name: str, files: Collection[str], expected: Collection[str]) -> str:
    """Return the note on a missing file: what it may be called now, or what was handed in instead."""
    others = sorted(other for other in files if other not in expected)
    similar = [other for other in others if _alike(PurePosixPath(other).name, name)]
    close = difflib.get_close_matches(name, others[:200], n=1, cutoff=0.8)
    same = [other for other in others if PurePosixPath(other).suffix.lower() == PurePosixPath(name).suffix]
    if found := [*similar, *close] or same[: len(same) == 1]:
        return f"{name} is missing; is it {plain(found[0], 80)}?"
    instead = ", ".join(plain(other, 80) for other in others[:_NAMED]) + ", ..." * (len(others) > _NAMED)
    return f"{name} is missing" + (f"; handed in: {instead}" if instead else "")


def _alike(name: str, wanted: str) -> bool:
    """Return whether a name is the wanted one but for upper and lower case and what programs put around it.

    Such as `Copy of part1.ipynb`, `part1 (1).ipynb`, `part1-Copy1.ipynb`, `part1.ipynb.txt`.
    """
    stem, ending = (re.escape(part) for part in os.path.splitext(wanted.casefold()))
    around = rf"(.*[^a-z0-9])?{stem}([^a-z0-9].*)?"
    return re.fullmatch(rf"{around}{ending}(\.\w+)?", name.casefold(), re.S) is not None
