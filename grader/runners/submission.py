"""Grades one submission: rebuild, judge, write the autograded folder and what is kept of it. No database."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from grader.book import records
from grader.book.keys import PLAIN, digest_of_text
from grader.book.nbgrader_course import NbCourse
from grader.book.points import why_failed
from grader.book.records import Record
from grader.book.results import Graded
from grader.examine.report import UNSETTLED
from grader.lean import nbformat
from grader.notebooks import unusual
from grader.notebooks.judge import judge
from grader.notebooks.rebuild import rebuild_apart
from grader.notebooks.template import Template, grade_id
from grader.notebooks.verdicts import earned
from grader.runners.work import Work
from grader.safe.files import defuse
from grader.text import plain
from grader.tree import STAMP, TRIALS, copy_file, regular_files
from grader.whole_files import replaced_folder

if TYPE_CHECKING:
    from grader.book.ledger import Entry
    from grader.examine.examiner import Examiner

log = logging.getLogger(__name__)


def grade_one(
    work: Work, examiner: Examiner, elsewhere: float = 0.0, *, keep: bool = True
) -> tuple[Graded, Entry]:
    """Rebuild and judge every notebook of a submission; write its autograded folder and what is kept of it.

    `elsewhere` is how many seconds another machine has spent on it already. Without `keep` nothing is left of it:
    what was kept of the run before stays.
    """
    from grader.book.ledger import Entry

    shared, started = work.shared, time.perf_counter()
    examiner.place.take_peak_memory()
    examiner.place.take_waited()
    graded = Graded(work.student)
    record = Record(work.student, secrets.token_hex(16), work.basis)
    entry = Entry(work.student, record.run, _timestamp(work))
    ran = []
    with replaced_folder(shared.autograded(work.student)) if keep else _passing_folder() as target:
        _copy_files(work, target, graded.notes)
        for name, template in shared.templates.items():
            path = _find_notebook(work.folder, name, graded.notes)
            if path is None and shared.part(name) is None:
                _mark_absent(entry, template)
                continue
            notebook, notes = rebuild_apart(template, path or work.folder / f"{name}.ipynb")
            graded.notes += notes
            notebook, again = _judge_notebook(work, name, notebook, target, examiner, graded, record)
            ran += again
            text = nbformat.writes(notebook) + "\n"
            (target / f"{name}.ipynb").write_text(text, encoding="utf-8")
            record.digests[name] = digest_of_text(text)
            _enter(work, entry, name, notebook, graded)
            if shared.part(name) is None:
                record.whys[name] = why_failed(notebook)
                graded.whys |= {(name, cell): why for cell, why in record.whys[name].items()}
        source = shared.course.path("source", ".", shared.assignment)
        graded.notes += defuse(target, source)
        _set_permissions(target, shared.course)
    graded.wall = round(time.perf_counter() - started - examiner.place.take_waited() + elsewhere, 3)
    graded.memory = examiner.place.take_peak_memory()
    if keep:
        _keep(work, graded, record, ran)
    return graded, entry


@contextlib.contextmanager
def _passing_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _judge_notebook(
    work: Work,
    name: str,
    notebook: nbformat.NotebookNode,
    target: Path,
    examiner: Examiner,
    graded: Graded,
    record: Record,
) -> tuple[nbformat.NotebookNode, list[str]]:
    """Judge one notebook as far as its verdicts do not stand; return it with its outputs, and what ran."""
    shared, part, run = work.shared, work.shared.part(name), work.to_run(name)
    keys = work.keys(name)
    if part is None:
        if not run:
            path = shared.autograded(work.student) / f"{name}.ipynb"
            notebook, judged = nbformat.read(path, as_version=4), work.record.judged[name]
        else:
            # Beside the course's own files, as nbgrader runs it.
            _, unsettled, notes = judge(
                notebook, None, target, examiner, shared.wall, prepared=shared.prepared.get(name)
            )
            judged = {"unsettled": unsettled, "notes": [f"{name}: {note}" for note in notes]}
            for filter_ in shared.filters():
                notebook, _ = filter_.preprocess(notebook, {})
        record.judged[name] = judged
        graded.notes += judged["notes"]
        graded.for_a_person += judged["unsettled"]
        if not judged["unsettled"]:
            record.keys[name] = {PLAIN: keys[PLAIN].to_dict()}
        return notebook, [name] if run else []
    kept = work.record.report(name) if work.record and run < keys.keys() else None
    if kept is not None:
        stand = keys.keys() - run
        kept.notes = [note for note in kept.notes if note.partition(":")[0] in stand]
        kept.checks = [check for check in kept.checks if check.name in stand]
    names = run if kept is not None else None
    # A module is judged as it was submitted.
    report, unsettled, notes = judge(
        notebook, part, work.packed, examiner, shared.wall, standing=kept, names=names
    )
    order = {check: place for place, check in enumerate(keys)}
    report.checks.sort(key=lambda check: order.get(check.name, len(order)))
    graded.reports[name] = report
    graded.notes += notes
    graded.for_a_person += unsettled
    record.reports[name] = json.loads(report.to_json())
    settled = {check.name for check in report.checks if check.verdict not in UNSETTLED}
    old = work.record.keys.get(name, {}) if work.record else {}
    record.keys[name] = {
        check: {**key.to_dict(), "seed": report.seed if check in run else old[check]["seed"]}
        for check, key in keys.items()
        if check in settled
    }
    for filter_ in shared.filters():
        notebook, _ = filter_.preprocess(notebook, {})
    return notebook, [f"{name}: {check}" for check in keys if check in run]


def _keep(work: Work, graded: Graded, record: Record, ran: list[str]) -> None:
    record.graded = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    record.notes, record.for_a_person = graded.notes, graded.for_a_person
    record.wall, record.memory, record.error = graded.wall, graded.memory, graded.error
    root, assignment = work.shared.course.root, work.shared.assignment
    records.save(root, assignment, record)
    found = [check for report in graded.reports.values() for check in report.checks]
    used = f", {graded.memory >> 20} MiB at most" if graded.memory else ""
    lines = [f"graded in {graded.wall:.2f} s{used}; ran {', '.join(ran) or 'nothing: every verdict stands'}"]
    lines += [f"{c.verdict}: {c.item} {c.name}, {c.points:g} of {c.max_points:g}. {c.why}" for c in found]
    lines += [f"note: {note}" for note in graded.notes]
    lines += [f"for a person: {item}" for item in graded.for_a_person]
    lines += [f"error: {graded.error}"] if graded.error else []
    records.log_run(root, assignment, work.student, lines)


def _find_notebook(folder: Path, name: str, notes: list[str]) -> Path | None:
    path = folder / f"{name}.ipynb"
    if path.is_file() and not path.is_symlink():
        return path
    others = (p.name for p in folder.glob("*.ipynb") if p.name != path.name)
    similar = [plain(other, 80) for other in others if other.lower().startswith(name.lower())]
    advice = f"; is it {similar[0]}? Rename it and grade again" if similar else ""
    notes.append(f"{name}.ipynb was not submitted{advice}")
    return None


def _copy_files(work: Work, target: Path, notes: list[str]) -> None:
    """Copy the submission beside its graded notebook, the course's own files over it, as nbgrader does."""
    course, assignment = work.shared.course, work.shared.assignment
    ignored = [*course.folders.ignore, "*.ipynb"]
    source = course.path("source", ".", assignment)
    # Of the course's own names a student may have a folder too.
    left = [pattern for pattern in ignored if pattern not in TRIALS]
    # What a worker is to see is what was read once, and what the verdict's key is the hash of.
    packed = {*work.packed.names, STAMP}
    names = [name for name in regular_files(work.folder, left, notes, limited=True) if name in packed]
    notes += unusual.file_notes(work.folder, names, source)
    for name in names:
        try:
            if name == STAMP:
                copy_file(work.folder / name, target / name)
                continue
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(work.packed.read(name))
        except OSError as error:  # a path that is too long here, or a folder of the same name
            notes.append(f"{plain(name, 80)}: left out ({error.strerror})")
    theirs = set(course.config.Autograde.get("exclude_overwriting", {}).get(assignment, ()))
    for name in regular_files(source, ignored, []):
        if name not in theirs:
            copy_file(source / name, target / name)


def _set_permissions(target: Path, course: NbCourse) -> None:
    shared = course.folders.groupshared
    mode = int(str(course.config.Autograde.get("permissions", 664 if shared else 444)), 8)
    for current, _, files in os.walk(target):
        if shared:
            os.chmod(current, os.stat(current).st_mode | 0o2770)
        for name in files:
            os.chmod(os.path.join(current, name), mode)


def _timestamp(work: Work) -> datetime | None:
    """Return when it was submitted; the file that says so may be a student's own."""
    path = work.folder / STAMP
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > 1000:
            raise ValueError("not a small text file")
        return work.shared.course.folders.get_existing_timestamp(str(work.folder))
    except FileNotFoundError:
        return None
    except (Exception, SystemExit) as error:  # nbgrader's parser, and what it calls, on any text
        # nbgrader calls a method that it lacks where a text is no date.
        why = "its text is no date" if isinstance(error, AttributeError) else error
        log.warning("%s: no date (%s); taken as in time", path, why)
        return None


def _mark_absent(entry: Entry, template: Template) -> None:
    """Give no points for a notebook that was not submitted, and leave nothing of it to a person."""
    graded = (cell for cell in template.cells if grade_id(cell) and cell.metadata.nbgrader.grade)
    entry.scores[template.name] = {grade_id(cell): (0.0, False) for cell in graded}


def _enter(work: Work, entry: Entry, name: str, notebook: nbformat.NotebookNode, graded: Graded) -> None:
    """Enter the scores and automatic comments of a judged notebook.

    A part's points are those of its report. What a plain notebook's cells earn stands in their outputs, by
    nbgrader's rules.
    """
    from nbgrader.utils import compute_checksum, is_grade, is_solution, is_task

    from grader.book.points import automatic_points

    part, report = work.shared.part(name), graded.reports.get(name)
    scores, comments = entry.scores.setdefault(name, {}), entry.comments.setdefault(name, {})
    for cell in notebook.cells:
        identity = grade_id(cell)
        if not identity:
            continue
        if is_grade(cell):  # a task is none: only a person gives points for it
            if part is not None and identity in part.items:
                checks = [check for check in report.checks if check.item == identity]
                points = earned(checks, part.items[identity])
            elif part is not None and not is_solution(cell):
                points = 0.0
                graded.notes.append(f"{name}: {identity} is graded, but no item of course.toml: 0 points")
            else:
                points, wrong = automatic_points(cell, log)
                if wrong:
                    # The first note is the one that stands beside the student's name.
                    graded.notes.insert(0, f"{name}: {identity} {wrong}; give its points by hand")
                    graded.for_a_person.append(identity)
            scores[identity] = points, identity in graded.for_a_person
        if is_solution(cell) or is_task(cell):
            untouched = cell.metadata.nbgrader.get("checksum") == compute_checksum(cell)
            comments[identity] = "No response." if untouched and not is_task(cell) else None
