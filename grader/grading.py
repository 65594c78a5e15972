"""Grades the submissions of an assignment: rebuild, examine in sandboxes, record in nbgrader's gradebook.

`grade` leaves what `nbgrader autograde` leaves (rows, scores, the autograded folder), from one process that
imports everything once. nbgrader's own command and formgrader's button run `grader.judging.judge` too, one
submission at a time, through `grader.nbgrader_plugin`.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader import cache, evidence, records, safe_html
from grader.cache import PLAIN, Key
from grader.course import CourseError, Part
from grader.judging import UNSETTLED, judge, load_template
from grader.lean import nbformat
from grader.nbcourse import NbCourse
from grader.rebuild import Template, grade_id, rebuild
from grader.records import Record, results_folder
from grader.results import Graded
from grader.tree import TRIALS, copy_file, regular_files

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

    from grader.examiner import Examiner
    from grader.ledger import Entry, Held, Ledger
    from grader.split.decide import Prepared
    from grader.submission import Place

log = logging.getLogger(__name__)

_BATCH = 20  # submissions in one transaction
_BATCH_SECONDS = 1.0  # that a result may wait for the others of its transaction


# --- one submission -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Class:
    """What the submissions of one assignment share; threads read it, and touch no database."""

    course: NbCourse
    assignment: str
    templates: dict[str, Template]
    filters: list[Any]  # nbgrader's own preprocessors on outputs
    keys: dict[str, dict[str, Key]]  # by notebook and check, all but the submission's own field
    basis: str  # hash of what the rows and the autograded folders follow from, besides the submission
    wall: float  # seconds per cell of a plain notebook
    prepared: dict[str, Prepared] = field(default_factory=dict)  # of plain notebooks, by name

    def part(self, notebook: str) -> Part | None:
        return self.course.part(self.assignment, notebook)

    def autograded(self, student: str) -> Path:
        return self.course.path("autograded", student, self.assignment)


@dataclass
class _Work:
    """One submission: what it is now, and what is known of its last run."""

    shared: _Class
    student: str
    folder: Path
    record: Record | None
    held: Held | None
    submission: str = ""  # hash of the files that a worker sees
    basis: str = ""

    @classmethod
    def look(cls, shared: _Class, student: str, folder: Path, held: Held | None) -> _Work:
        """Read the submission and what is kept of it."""
        record = records.load(shared.course.root, shared.assignment, student)
        submission = cache.folder_digest(folder, ["timestamp.txt"])
        stamp = cache.file_digest(folder / "timestamp.txt")
        basis = cache.digest_of(shared.basis, submission, stamp)
        return cls(shared, student, folder, record, held, submission, basis)

    def keys(self, notebook: str) -> dict[str, Key]:
        found = self.shared.keys[notebook].items()
        return {name: replace(key, submission=self.submission) for name, key in found}

    def reasons(self, notebook: str, check: str) -> list[str]:
        """Return why this check (PLAIN: this notebook) must run, nothing where its verdict stands."""
        if self.record is None:
            return ["it was never graded"]
        kept = self.record.keys.get(notebook, {}).get(check)
        if kept is None:
            report = self.record.report(notebook)
            of = [c for c in report.checks if c.name == check] if report else []
            if of and of[0].verdict in UNSETTLED:
                return [f"the last run left it {of[0].verdict}"]
            return ["no result of it is kept"]
        changes = self.keys(notebook)[check].changes_since(kept)
        if check == PLAIN and not changes and not self.has_autograded(notebook):
            changes.append("its autograded notebook is not the one that was written")
        return changes

    def to_run(self, notebook: str) -> set[str]:
        return {name for name in self.shared.keys[notebook] if self.reasons(notebook, name)}

    def has_autograded(self, notebook: str) -> bool:
        path = self.shared.autograded(self.student) / f"{notebook}.ipynb"
        digest = self.record.digests.get(notebook) if self.record else None
        return digest is not None and cache.file_digest(path) == digest

    def unrecorded(self) -> list[str]:
        """Return why rows and files must be written although every verdict stands, nothing where they need not."""
        if self.record is None or self.held is None:
            return ["the gradebook holds no result of it"]
        found = []
        if self.record.run != self.held.run or not self.record.run:
            found.append("the gradebook holds the result of another run")
        if self.record.basis != self.basis:
            found.append("the course's texts, points or configuration, or the time of submission, differ")
        if self.record.for_a_person or self.record.error:
            found.append("the last run could not settle all of it")
        if not all(self.has_autograded(name) for name in self.record.digests):
            found.append("an autograded notebook is not the one that was written")
        return found

    def unchanged(self) -> Graded | None:
        """Return the last result where nothing is to be run or written."""
        if self.unrecorded() or any(self.to_run(name) for name in self.shared.templates):
            return None
        return Graded(
            self.student,
            self.held.score,
            self.held.max_score,
            {name: self.record.report(name) for name in self.record.reports},
            self.record.notes,
            unchanged=True,
            wall=self.record.wall,
        )


def _grade_one(work: _Work, examiner: Examiner) -> tuple[Graded, Entry]:
    """Rebuild and judge every notebook of a submission; write its autograded folder and what is kept of it."""
    from grader.ledger import Entry

    shared, started = work.shared, time.perf_counter()
    examiner.place.take_peak_memory()
    graded = Graded(work.student)
    record = Record(work.student, secrets.token_hex(16), work.basis)
    entry = Entry(work.student, record.run, _timestamp(work))
    ran = []
    with records.replaced_folder(shared.autograded(work.student)) as target:
        _copy_files(work, target, graded.notes)
        for name, template in shared.templates.items():
            path = _find_notebook(work.folder, name, graded.notes)
            if path is None and shared.part(name) is None:
                _mark_absent(entry, template)
                continue
            notebook, notes = rebuild(template, path or work.folder / f"{name}.ipynb")
            graded.notes += notes
            notebook, again = _judge_notebook(work, name, notebook, target, examiner, graded, record)
            ran += again
            text = nbformat.writes(notebook) + "\n"
            (target / f"{name}.ipynb").write_text(text, encoding="utf-8")
            record.digests[name] = cache.digest_of_text(text)
            _read_off(entry, name, notebook, graded.for_a_person)
        source = shared.course.path("source", ".", shared.assignment)
        graded.notes += safe_html.defuse(target, source)
        _set_permissions(target, shared.course)
    graded.wall = round(time.perf_counter() - started, 3)
    graded.memory = examiner.place.take_peak_memory()
    _keep(work, graded, record, ran)
    return graded, entry


def _judge_notebook(
    work: _Work,
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
            for filter_ in shared.filters:
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
        notebook, part, work.folder, examiner, shared.wall, standing=kept, names=names
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
    for filter_ in shared.filters:
        notebook, _ = filter_.preprocess(notebook, {})
    return notebook, [f"{name}: {check}" for check in keys if check in run]


def _keep(work: _Work, graded: Graded, record: Record, ran: list[str]) -> None:
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
    similar = [evidence.shown(other, 80) for other in others if other.lower().startswith(name.lower())]
    advice = f"; is it {similar[0]}? Rename it and grade again" if similar else ""
    notes.append(f"{name}.ipynb was not submitted{advice}")
    return None


def _copy_files(work: _Work, target: Path, notes: list[str]) -> None:
    """Copy the submission beside its graded notebook, the course's own files over it, as nbgrader does."""
    course, assignment = work.shared.course, work.shared.assignment
    ignored = [*course.folders.ignore, "*.ipynb"]
    source = course.path("source", ".", assignment)
    names = list(regular_files(work.folder, ignored, notes, limited=True))
    notes += evidence.file_notes(work.folder, names, source)
    for name in names:
        try:
            copy_file(work.folder / name, target / name)
        except OSError as error:  # a path that is too long here, or a folder of the same name
            notes.append(f"{evidence.shown(name, 80)}: left out ({error.strerror})")
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


def _timestamp(work: _Work) -> datetime | None:
    """Return when it was submitted; the file that says so may be a student's own."""
    path = work.folder / "timestamp.txt"
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > 1000:
            raise ValueError("not a small text file")
        return work.shared.course.folders.get_existing_timestamp(str(work.folder))
    except FileNotFoundError:
        return None
    except (Exception, SystemExit) as error:  # nbgrader's parser, and what it calls, on any text
        log.warning("%s: no date (%s); taken as in time", path, error)
        return None


def _mark_absent(entry: Entry, template: Template) -> None:
    """Give no points for a notebook that was not submitted, and leave nothing of it to a person."""
    graded = (cell for cell in template.cells if grade_id(cell) and cell.metadata.nbgrader.grade)
    entry.scores[template.name] = {grade_id(cell): (0.0, False) for cell in graded}


def _read_off(entry: Entry, name: str, notebook: nbformat.NotebookNode, for_a_person: list[str]) -> None:
    """Take the scores and automatic comments from a judged notebook, as nbgrader does."""
    from nbgrader.utils import compute_checksum, determine_grade, is_grade, is_solution, is_task

    scores, comments = entry.scores.setdefault(name, {}), entry.comments.setdefault(name, {})
    for cell in notebook.cells:
        identity = grade_id(cell)
        if not identity:
            continue
        if is_grade(cell):  # a task is none: only a person gives points for it
            points, _ = determine_grade(cell, log)
            scores[identity] = points, identity in for_a_person
        if is_solution(cell) or is_task(cell):
            untouched = cell.metadata.nbgrader.get("checksum") == compute_checksum(cell)
            comments[identity] = "No response." if untouched and not is_task(cell) else None


def _basis(course: NbCourse, assignment: str, templates: dict[str, Template], keys: Any) -> str:
    """Return a hash of what rows and autograded folders follow from, whoever submits."""
    digests = [cache.folder_digest(course.path("source", ".", assignment), ["checks", *TRIALS])]
    digests += [cache.file_digest(course.root / name) for name in ("course.toml", "nbgrader_config.py")]
    cells = [[cell.source, cell.metadata] for template in templates.values() for cell in template.cells]
    known = {name: [key.environment for key in found.values()][:1] for name, found in keys.items()}
    return cache.digest_of(*digests, json.dumps(cells, default=str), json.dumps(known))


def _keys(
    course: NbCourse, assignment: str, templates: dict[str, Template], isolation: str, wall: float
) -> dict[str, dict[str, Key]]:
    """Return the keys of every check of every notebook, but for the field of the submission."""
    environment = cache.environment_digest()
    source = cache.folder_digest(course.path("source", ".", assignment), ["checks", *TRIALS])
    config = cache.file_digest(course.root / "nbgrader_config.py")
    modes = results_folder(course.root, assignment) / "modes"
    found = {}
    for name, template in templates.items():
        part = course.part(assignment, name)
        if part is not None:
            digests = cache.check_digests(part)
        else:
            cells = json.dumps([[cell.source, cell.metadata] for cell in template.cells], default=str)
            plan = cache.file_digest(modes / f"{name}.json")
            digests = {PLAIN: cache.digest_of(cells, source, config, plan)}
        limits = cache.limits_digest(part, isolation, wall)
        found[name] = {check: Key("", digest, environment, limits) for check, digest in digests.items()}
    return found


# --- the class ----------------------------------------------------------------------------------------------


def default_jobs() -> int:
    """How many submissions are graded at once where nobody says: one per core for root, otherwise one.

    The kernel counts pipes and descriptors in flight (pipe(7), unix(7)) per user. Under root each job has a user of
    its own; without root all share one, and a hostile submission could use up what an honest one beside it needs.
    """
    if os.geteuid() != 0:
        return 1
    # The cores that this process may use: a container or taskset(1) leaves it fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def grade(
    course_root: Path | str,
    assignment: str,
    *,
    students: Iterable[str] | None = None,
    jobs: int | None = None,
    isolation: str = "namespaces",
    force: bool = False,
    progress: Callable[[Graded, int, int], None] | None = None,
    begins: Callable[[str], None] | None = None,
) -> list[Graded]:
    """Grade the collected submissions of `assignment` into the gradebook; return a result per student.

    Works on any nbgrader course; parts that course.toml describes are examined, other notebooks run in a
    sandbox. `jobs` submissions are graded at once (default: see `default_jobs`); one thread writes the database,
    a batch at a time. What is as it was, under the same checks, is not run again unless `force`; see
    `grader.cache`. Killed at any instant and started again, it goes on with what the gradebook does not hold.
    `progress` is called with each result once it is recorded, how many are done, and how many there are;
    `begins` with a student's name, from any thread, when the work on it begins. A submission that cannot be
    graded gives a result with `error` and stops nobody else. Raises CourseError where the assignment was not
    released, has no submissions, a name in `students` has none, or somebody else is grading in this course.
    """
    if isolation not in ("namespaces", "plain"):
        raise CourseError(
            f"--isolation {isolation}: grading never chooses; say namespaces, or plain on purpose"
        )
    from grader.zygote import Zygote

    with ExitStack() as stack:
        # The zygote imports torch in its own process while this one imports nbgrader.
        # Parts use optimizers and autograd functions, which import PyTorch's compiler: a second for every worker.
        parts = ["torch._dynamo"] if (Path(course_root) / "course.toml").exists() else []
        zygote = Zygote(["grader.split.workers", *parts])
        stack.callback(zygote.close)
        starter = stack.enter_context(ThreadPoolExecutor(1))
        from grader.examiner import Examiner
        from grader.submission import sweep_scratch

        sweep_scratch()
        starting = starter.submit(Examiner, isolation, cells=True, zygote=zygote)
        course = NbCourse.open(course_root)
        stack.enter_context(records.only_one(course.root))
        gradebook = course.gradebook()
        stack.callback(gradebook.close)
        place = lambda: starting.result().place  # noqa: E731
        shared, folders = _plan(course, gradebook, assignment, students, isolation, place)
        from grader.ledger import Ledger

        ledger = Ledger(gradebook, assignment, course.config)
        for student in folders:
            records.repair(shared.autograded(student))
        results: list[Graded] = []
        writer = _Writer(ledger, course.root)
        pool = stack.enter_context(ThreadPoolExecutor(jobs or default_jobs()))
        # After an error, what has not begun must not hold up the end.
        stack.callback(pool.shutdown, cancel_futures=True)
        held = ledger.held()

        def work_on(student: str) -> tuple[Graded, Entry | None]:
            if begins:
                begins(student)
            return _grade_if_needed(shared, student, folders[student], held.get(student), force, starting)

        for graded in writer.results(pool.submit(work_on, student) for student in folders):
            results.append(graded)
            if progress:
                progress(graded, len(results), len(folders))
    return sorted(results, key=lambda graded: graded.student)


def _grade_if_needed(
    shared: _Class, student: str, folder: Path, held: Held | None, force: bool, starting: Future
) -> tuple[Graded, Entry | None]:
    """Grade one submission where anything of it is to be run or written; runs in a thread."""
    from grader.sandbox import SandboxError

    try:
        work = _Work.look(shared, student, folder, held)
        if force:
            work.record = None
        elif known := work.unchanged():
            return known, None
        return _grade_one(work, starting.result())
    except (SandboxError, CourseError):
        raise
    except Exception as error:
        # One submission that trips the grader itself must not stop the class.
        log.exception("%s could not be graded", student)
        why = f"could not be graded: {type(error).__name__}: {error}"
        records.save(shared.course.root, shared.assignment, Record(student, error=why))
        records.log_run(shared.course.root, shared.assignment, student, [why])
        return Graded(student, error=why), None


class _Writer:
    """The one thread that writes the gradebook, some submissions in each transaction: a commit waits for the disk."""

    def __init__(self, ledger: Ledger, root: Path):
        self._ledger, self._root = ledger, root

    def results(self, futures: Iterable[Future]) -> Iterator[Graded]:
        """Yield every result once it is recorded."""
        done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        count = 0
        for future in futures:
            future.add_done_callback(done.put)
            count += 1
        del future, futures  # a result is dropped when it is written: a class need not fit into memory
        batch: list[tuple[Graded, Entry]] = []
        due = 0.0
        while count or batch:
            try:
                wait = max(0.0, due - time.monotonic()) if batch else None
                graded, entry = (done.get(timeout=wait) if count else done.get_nowait()).result()
            except queue.Empty:
                yield from self._write(batch)
                batch = []
                continue
            count -= 1
            if entry is None:
                yield graded
                continue
            due = due if batch else time.monotonic() + _BATCH_SECONDS
            batch.append((graded, entry))
            if len(batch) == _BATCH:
                yield from self._write(batch)
                batch = []

    def _write(self, batch: list[tuple[Graded, Entry]]) -> list[Graded]:
        # What the rows speak of must not be lost by a power cut that spares the rows.
        records.to_disk(self._root)
        try:
            held = self._ledger.write([entry for _, entry in batch])
        except CourseError:
            raise
        except Exception as error:
            # What a submission holds, or is called, may be more than a database takes; it must stop nobody else.
            if len(batch) > 1:
                return [graded for one in batch for graded in self._write([one])]
            graded = batch[0][0]
            log.exception("%r could not be recorded", graded.student)
            graded.error = f"could not be recorded: {' '.join(str(error).split())[:200]}"
            return [graded]
        for graded, _ in batch:
            graded.score, graded.max_score = held[graded.student].score, held[graded.student].max_score
        return [graded for graded, _ in batch]


def explain(
    course_root: Path | str, assignment: str, student: str, isolation: str = "namespaces"
) -> list[str]:
    """Return, in a sentence per check, whether `grade` would run it for this student, and why. Runs nothing.

    Raises CourseError as `grade` does.
    """
    from grader.ledger import Ledger

    course = NbCourse.open(course_root)
    gradebook = course.gradebook()
    try:
        shared, folders = _plan(course, gradebook, assignment, [student], isolation, None)
        held = Ledger(gradebook, assignment, course.config).held().get(student)
    finally:
        gradebook.close()
    work = _Work.look(shared, student, folders[student], held)
    when = f"graded {work.record.graded} UTC" if work.record and work.record.graded else "not graded yet"
    lines = [f"{student}, {assignment}: {when}."]
    for notebook, keys in shared.keys.items():
        for check in keys:
            reasons = work.reasons(notebook, check)
            name = f"{notebook}, {check}" if check else notebook
            told = (
                f"would run: {'; '.join(reasons)}"
                if reasons
                else "would not run: nothing that it follows from differs"
            )
            lines.append(f"{name}: {told}.")
    reasons = work.unrecorded()
    told = f"would be written: {'; '.join(reasons)}" if reasons else "holds this result"
    lines.append(f"The gradebook {told}.")
    return lines


def _plan(
    course: NbCourse,
    gradebook: Gradebook,
    assignment: str,
    students: Iterable[str] | None,
    isolation: str,
    place: Callable[[], Place] | None,
) -> tuple[_Class, dict[str, Path]]:
    """Read what the submissions share. `place` gives workers to decide modes with; without it none is decided."""
    from nbgrader.api import MissingEntry
    from nbgrader.preprocessors import IgnorePattern, LimitOutput

    try:
        notebooks = [notebook.name for notebook in gradebook.find_assignment(assignment).notebooks]
    except MissingEntry:
        notebooks = []
    if not notebooks:
        raise CourseError(f"{assignment} is not in the gradebook of {course.root}; release it first")
    folders = course.submissions(assignment)
    if students is not None:
        if unknown := sorted(set(students) - folders.keys()):
            raise CourseError(f"no submission of {assignment} by {', '.join(unknown)}; collect it first")
        folders = {student: folders[student] for student in students}
    if not folders:
        where = course.path("submitted", "STUDENT", assignment)
        raise CourseError(f"{where}: no submissions; run grader collect, or put them there")
    source = course.path("source", ".", assignment)
    templates = {
        name: load_template(
            gradebook,
            assignment,
            name,
            source / f"{name}.ipynb",
            judges_files=course.part(assignment, name) is not None,
        )
        for name in notebooks
    }
    gradebook.db.rollback()  # ends the transaction that reading began: others may write meanwhile
    filters = [
        filter_
        for filter_ in (IgnorePattern(config=course.config), LimitOutput(config=course.config))
        if filter_.enabled
    ]
    wall = course.config.Execute.get("timeout", 30) or 24 * 3600
    prepared = {}
    for name, template in templates.items():
        if place is not None and not template.judges_files:
            from grader.split.decide import prepare

            if (found := prepare(course, assignment, template, place, wall)) is not None:
                prepared[name] = found
    keys = _keys(course, assignment, templates, isolation, wall)
    basis = _basis(course, assignment, templates, keys)
    return _Class(course, assignment, templates, filters, keys, basis, wall, prepared), folders
