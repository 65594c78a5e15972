"""Grades the submissions of an assignment: rebuild, examine in sandboxes, record in nbgrader's gradebook.

`grade` leaves what `nbgrader autograde` leaves (rows, scores, the autograded folder), from one process that
imports everything once. nbgrader's own command and formgrader's button run `grader.notebooks.judge.judge` too, one
submission at a time, through `grader.book.nbgrader_plugin`.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.book import records
from grader.book.nbgrader_course import NbCourse
from grader.book.results import Graded, class_names, deadline_moved, follow_deadline
from grader.book.settings import refuse_other_languages
from grader.book.writer import GradebookWriter
from grader.course import CourseError
from grader.notebooks.judge import kernel_of, load_template
from grader.notebooks.rebuild import READER
from grader.runners import RUNNERS
from grader.runners.local import Starting, default_jobs, grade_if_needed, zygote_for
from grader.runners.work import Shared, Work, basis_of, verdict_keys
from grader.safe import apart
from grader.whole_files import repair

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

    from grader.book.ledger import Entry, Held

log = logging.getLogger(__name__)


def grade(
    course_root: Path | str,
    assignment: str,
    *,
    students: Iterable[str] | None = None,
    jobs: int | None = None,
    isolation: str = "namespaces",
    runner: str = "local",
    force: bool = False,
    dry_run: bool = False,
    progress: Callable[[Graded, int, int], None] | None = None,
    begins: Callable[[str], None] | None = None,
) -> list[Graded]:
    """Grade the collected submissions of `assignment` into the gradebook; return a result per student.

    Works on any nbgrader course; parts that course.toml describes are examined, other notebooks run in a
    sandbox. `jobs` submissions are graded at once (default: see `default_jobs`); one thread writes the database,
    a batch at a time. What is as it was, under the same checks, is not run again unless `force`; see
    `grader.book.keys`. Killed at any instant and started again, it goes on with what the gradebook does not hold.
    With `runner` "slurm" the checks run on a Slurm cluster, at most `jobs` tasks at once; see `grader.runners.slurm`.
    With `dry_run` nothing is written: results are what grading would come to, by the gradebook's own deadline.
    `progress` is called with each result once it is recorded, how many are done, and how many there are;
    `begins` with a student's name, from any thread, when the work on it begins. A submission that cannot be
    graded gives a result with `error` and stops nobody else. Raises CourseError where the assignment was not
    released, has no submissions, a name in `students` has none, or somebody else is grading in this course.
    """
    if isolation not in ("namespaces", "plain"):
        raise CourseError(
            f"--isolation {isolation}: grading never chooses; say namespaces, or plain on purpose"
        )
    if runner not in RUNNERS:
        raise CourseError(f"--runner {runner}: it must be one of {', '.join(RUNNERS)}")
    local = runner == "local"
    if dry_run and not local:
        raise CourseError(
            f"--dry-run --runner {runner}: a dry run is this machine's; leave one of the two out"
        )
    at_once = jobs or default_jobs()
    with ExitStack() as stack:
        starting = Starting(isolation, zygote_for(Path(course_root), assignment), at_once)
        stack.callback(starting.close)
        if local and (force or not records.any_kept(Path(course_root), assignment)):
            _begin(starting)  # what they import takes as long as what this process does
        course = NbCourse.open(course_root)
        stack.enter_context(records.only_one(course.root))
        gradebook = course.gradebook()
        stack.callback(gradebook.close)
        if not dry_run:
            follow_deadline(gradebook, course, assignment)
        elif deadline_moved(gradebook, course, assignment):
            log.warning(
                "%s: course.toml has another deadline than the gradebook, which counts here", assignment
            )
        shared, folders = _plan(course, gradebook, assignment, students, isolation)
        from grader.book.ledger import Ledger

        ledger = Ledger(gradebook, assignment, course.config)
        if not dry_run:
            course.close_step("autograded")
            for student in folders:
                repair(shared.autograded(student))
        held = ledger.held()
        names = class_names(gradebook)
        gradebook.db.rollback()
        results = [] if force else _unchanged(shared, folders, held)
        if len(results) == len(folders):
            for done, graded in enumerate(results, 1):
                graded.name = names.get(graded.student, "")
                if progress:
                    progress(graded, done, len(folders))
            return results
        writer = GradebookWriter(ledger, course.root, keep=not dry_run)
        options = {"force": force, "begins": begins}
        if local:
            _begin(starting)
            shared = _ready_to_run(shared, isolation, starting)
            threads = _threads(shared, folders, held, starting, at_once, keep=not dry_run, **options)
            futures = stack.enter_context(threads)
        else:
            from grader.runners.slurm.runner import SlurmRunner

            running = SlurmRunner(shared, folders, held, at_once=jobs, isolation=isolation, **options)
            futures = running.results()
            stack.enter_context(running)
        results = []
        for graded in writer.results(futures):
            graded.name = names.get(graded.student, "")
            results.append(graded)
            if progress:
                progress(graded, len(results), len(folders))
    return sorted(results, key=lambda graded: graded.student)


def _begin(starting: Starting) -> None:
    """Start the processes that run submissions and that read them, while the caller goes on."""
    starting.begin()
    apart.begin(READER)


@contextmanager
def _threads(
    shared: Shared,
    folders: dict[str, Path],
    held: dict[str, Held],
    starting: Starting,
    jobs: int,
    *,
    force: bool,
    begins: Callable[[str], None] | None,
    keep: bool,
) -> Iterator[Iterator[Future[tuple[Graded, Entry | None]]]]:
    """Yield a result for each submission, of threads of this process."""
    # While `jobs` run, one more is read, or written; but for an ordinary user, whose pipes and descriptors in flight
    # the kernel counts together with those of what runs.
    pool = ThreadPoolExecutor(jobs + (os.geteuid() == 0))

    def work_on(student: str) -> tuple[Graded, Entry | None]:
        if begins:
            begins(student)
        return grade_if_needed(
            shared, student, folders[student], held.get(student), force, starting, keep=keep
        )

    try:
        yield (pool.submit(work_on, student) for student in folders)
    finally:
        # After an error, what has not begun must not hold up the end.
        starting.stop()
        pool.shutdown(cancel_futures=True)


def explain(
    course_root: Path | str, assignment: str, student: str, isolation: str = "namespaces"
) -> list[str]:
    """Return, in a sentence per check, whether `grade` would run it for this student, and why. Runs nothing.

    Raises CourseError as `grade` does.
    """
    from grader.book.ledger import Ledger

    course = NbCourse.open(course_root)
    gradebook = course.gradebook()
    try:
        shared, folders = _plan(course, gradebook, assignment, [student], isolation)
        held = Ledger(gradebook, assignment, course.config).held().get(student)
    finally:
        gradebook.close()
    with Work.look(shared, student, folders[student], held) as work:
        return _reasons(work, student, assignment)


def _reasons(work: Work, student: str, assignment: str) -> list[str]:
    when = f"graded {work.record.graded} UTC" if work.record and work.record.graded else "not graded yet"
    lines = [f"{student}, {assignment}: {when}."]
    for notebook, keys in work.shared.keys.items():
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
) -> tuple[Shared, dict[str, Path]]:
    """Read what the submissions share, as far as it takes to see which of them must run; decide nothing."""
    from nbgrader.api import MissingEntry

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
            **course.marks,
        )
        for name in notebooks
    }
    plain = [template for template in templates.values() if not template.judges_files]
    kernels = {template.name: kernel_of(template, source / f"{template.name}.ipynb") for template in plain}
    refuse_other_languages(course.config, assignment, kernels)
    gradebook.db.rollback()  # ends the transaction that reading began: others may write meanwhile
    wall = course.cell_seconds
    keys = verdict_keys(course, assignment, templates, isolation, wall)
    basis = basis_of(course, assignment, templates, keys)
    filters = functools.cache(partial(_filters, course))
    return Shared(course, assignment, templates, filters, keys, basis, wall), folders


def _unchanged(shared: Shared, folders: dict[str, Path], held: dict[str, Held]) -> list[Graded]:
    """Return what is known of the first submissions, up to the first of which anything must run or be written.

    Where that is all of them, nothing else is needed: no worker, and nothing that is slow to import. The modes of
    plain notebooks stand too, since all that they follow from is in the keys.
    """
    found = []
    for student, folder in folders.items():
        try:
            with Work.look(shared, student, folder, held.get(student)) as work:
                known = work.unchanged()
        except Exception:  # what it is about a submission is said when it is graded
            known = None
        if known is None:
            break
        found.append(known)
    return found


def _ready_to_run(shared: Shared, isolation: str, starting: Starting) -> Shared:
    """Return what submissions that run share: the modes of plain notebooks, decided now where they are not yet."""
    from grader.book.modes import prepared_notebook

    course, assignment, wall = shared.course, shared.assignment, shared.wall
    place = lambda: starting.result().place  # noqa: E731
    prepared = {
        name: prepared_notebook(course, assignment, template, place, wall)
        for name, template in shared.templates.items()
        if not template.judges_files
    }
    keys = verdict_keys(course, assignment, shared.templates, isolation, wall)
    basis = basis_of(course, assignment, shared.templates, keys)
    return replace(shared, keys=keys, basis=basis, prepared=prepared)


def _filters(course: NbCourse) -> list[Any]:
    """Return nbgrader's own preprocessors on outputs, as far as the course uses them."""
    from nbgrader.preprocessors import IgnorePattern, LimitOutput

    found = IgnorePattern(config=course.config), LimitOutput(config=course.config)
    return [filter_ for filter_ in found if filter_.enabled]
