"""Grades the submissions of an assignment: rebuild, examine in sandboxes, record in nbgrader's gradebook.

`grade` leaves what `nbgrader autograde` leaves (rows, scores, the autograded folder), from one process that
imports everything once. nbgrader's own command and formgrader's button run `judge` too, one submission at a
time, through `grader.nbgrader_plugin`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader import verdicts
from grader.course import CourseError, Part
from grader.lean import nbformat
from grader.nbcourse import NbCourse
from grader.rebuild import Template, clean_outputs, grade_id, rebuild

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

    from grader.examiner import CheckResult, Examiner, Report

log = logging.getLogger(__name__)

SHARED_INTERPRETER = "its tests share the student's interpreter: these points can be forged"
_UNSETTLED = ("undecided", "error")


@dataclass
class Graded:
    """What grading one submission came to."""

    student: str
    score: float = 0.0
    max_score: float = 0.0
    reports: dict[str, Report] = field(default_factory=dict)  # by notebook, for parts of course.toml
    notes: list[str] = field(default_factory=list)
    unchanged: bool = False  # nothing differed from last time, so nothing ran
    for_a_person: list[str] = field(default_factory=list)  # ids that no check could settle
    error: str = ""  # the submission could not be graded at all, and why

    def summary(self) -> str:
        """Return one line that says what happened."""
        if self.error:
            return self.error
        failed = [c for report in self.reports.values() for c in report.checks if c.verdict != "pass"]
        whys = dict.fromkeys(f"{check.item}: {check.why}" for check in failed)
        told = [*whys, *self.notes]
        if not told:
            return "every check passed" if self.reports else ""
        return told[0] + (f" (and {len(told) - 1} more)" if len(told) > 1 else "")


# --- the notebook that is graded -----------------------------------------------------------------------------


def load_template(
    gradebook: Gradebook, assignment: str, notebook: str, layout: Path, *, judges_files: bool
) -> Template:
    """Return the notebook as released, with its hidden tests: order from `layout`, text from the gradebook.

    `layout` is the instructor's own notebook; where it is gone, nbgrader's cells stand in the gradebook's
    order. Cells that are newer than the last release are left out, since no student has them.
    """
    record = gradebook.find_notebook(notebook, assignment)
    recorded = {cell.name: cell for cell in record.source_cells}
    roles = {
        "grade": {cell.name: cell.max_score for cell in record.grade_cells},
        "task": {cell.name: cell.max_score for cell in record.task_cells},
        "solution": {cell.name for cell in record.solution_cells},
    }
    cells = []
    if layout.is_file():
        for cell in nbformat.read(layout, as_version=4).cells:
            identity = grade_id(cell)
            if identity in recorded:
                cells.append(_from_record(recorded.pop(identity), roles, cell.metadata.get("tags")))
            elif not identity:
                new = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
                tags = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
                cells.append(new(cell.source, metadata=tags))
    cells += [_from_record(source, roles, None) for source in recorded.values()]
    for index, cell in enumerate(cells):
        cell.id = f"cell-{index}"
    kernelspec = json.loads(record.kernelspec or "{}")
    return Template(notebook, cells, kernelspec, judges_files)


def _from_record(source: Any, roles: dict[str, Any], tags: list[str] | None) -> nbformat.NotebookNode:
    name = source.name
    metadata = {
        "schema_version": 3,
        "grade": name in roles["grade"],
        "solution": name in roles["solution"],
        "locked": bool(source.locked),
        "task": name in roles["task"],
        "grade_id": name,
        "cell_type": source.cell_type,
    }
    if name in roles["grade"] or name in roles["task"]:
        metadata["points"] = float({**roles["grade"], **roles["task"]}[name])
    if source.checksum:
        metadata["checksum"] = source.checksum
    new = nbformat.v4.new_code_cell if source.cell_type == "code" else nbformat.v4.new_markdown_cell
    return new(source.source or "", metadata={"nbgrader": metadata, **({"tags": tags} if tags else {})})


# --- one notebook -------------------------------------------------------------------------------------------


def judge(
    notebook: nbformat.NotebookNode, part: Part | None, folder: Path, examiner: Examiner, wall: float = 30
) -> tuple[Report | None, list[str], list[str]]:
    """Fill in the outputs of a rebuilt notebook, from which nbgrader reads the scores.

    A part of course.toml is examined: the score of each check cell comes from the checks on the files in
    `folder`, and no cell runs. A plain notebook runs in a worker that has `folder`, `wall` seconds per cell.
    Returns the report of a part, the ids that a person must settle, and notes for the instructor.
    """
    if part is None:
        return None, [], _run_plain(notebook, folder, examiner, wall)
    report = examiner.examine(part, folder)
    unsettled = {check.item for check in report.checks if check.verdict in _UNSETTLED}
    if unsettled:
        again = examiner.examine(part, folder, items=unsettled)
        report.checks = [_replaced(check, again) for check in report.checks]
        report.notes += [note for note in again.notes if note not in report.notes]
    for cell in notebook.cells:
        item = grade_id(cell)
        if item in part.items:
            checks = [check for check in report.checks if check.item == item]
            cell.outputs = [nbformat.from_dict(o) for o in verdicts.outputs(checks, part.items[item])]
    left = {check.item for check in report.checks if check.verdict in _UNSETTLED}
    return report, sorted(left), list(report.notes)


def _replaced(check: CheckResult, again: Report) -> CheckResult:
    if check.verdict not in _UNSETTLED:
        return check
    return next((other for other in again.checks if other.name == check.name), check)


def _run_plain(notebook: nbformat.NotebookNode, folder: Path, examiner: Examiner, wall: float) -> list[str]:
    def runs(cell: nbformat.NotebookNode) -> bool:
        tagged = "skip-execution" in cell.metadata.get("tags", ())
        return cell.cell_type == "code" and bool(cell.source.strip()) and not tagged

    cells = [cell for cell in notebook.cells if runs(cell)]
    orders = [{"source": cell.source, "cell_id": cell.id} for cell in cells]
    found, notes = examiner.run_cells(orders, files=folder, wall_per_cell=wall)
    for count, (cell, outputs) in enumerate(zip(cells, found, strict=True), 1):
        cell.execution_count = count
        cell.outputs = [nbformat.from_dict(output) for output in clean_outputs(outputs)]
        if grade_id(cell) and not any(o.output_type == "error" for o in cell.outputs):
            warned = any(o.output_type == "stream" and o.name == "stderr" for o in cell.outputs)
            if warned and cell.metadata.nbgrader.get("grade"):
                notes.append(f"{grade_id(cell)}: printed to stderr, which nbgrader takes for a failure")
    return notes


# --- one submission -----------------------------------------------------------------------------------------


@dataclass
class _Work:
    """Everything that grading one submission needs, so that a thread touches no database."""

    course: NbCourse
    assignment: str
    student: str
    folder: Path
    templates: dict[str, Template]
    filters: list[Any]  # nbgrader's own preprocessors on outputs
    basis: str  # a hash of what every submission's result follows from


def _grade_files(work: _Work, examiner: Examiner) -> tuple[Graded, dict[str, nbformat.NotebookNode]]:
    """Rebuild and judge every notebook of a submission, and write its autograded folder."""
    graded, notebooks = Graded(work.student), {}
    target = work.course.path("autograded", work.student, work.assignment)
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    try:
        _copy_files(work, target, graded.notes)
        wall = work.course.config.Execute.get("timeout", 30) or 24 * 3600
        for name, template in work.templates.items():
            path = _find_notebook(work.folder, name, graded.notes)
            part = work.course.part(work.assignment, name)
            if path is None and part is None:
                continue
            notebook, notes = rebuild(template, path or work.folder / f"{name}.ipynb")
            # A module is judged as submitted, a notebook beside the course's own files.
            report, unsettled, more = judge(notebook, part, work.folder if part else target, examiner, wall)
            graded.notes += notes + more
            graded.for_a_person += unsettled
            if report is not None:
                graded.reports[name] = report
            else:
                graded.notes.append(f"{name}: {SHARED_INTERPRETER}")
            for filter_ in work.filters:
                notebook, _ = filter_.preprocess(notebook, {})
            notebooks[name] = notebook
            (target / f"{name}.ipynb").write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        _set_permissions(target, work.course)
    except BaseException:
        shutil.rmtree(target)
        raise
    return graded, notebooks


def _find_notebook(folder: Path, name: str, notes: list[str]) -> Path | None:
    path = folder / f"{name}.ipynb"
    if path.is_file() and not path.is_symlink():
        return path
    similar = [p.name for p in folder.glob("*.ipynb") if p.stem.lower().startswith(name.lower())]
    advice = f"; is it {similar[0]}? Rename it and grade again" if similar else ""
    notes.append(f"{name}.ipynb was not submitted{advice}")
    return None


def _copy_files(work: _Work, target: Path, notes: list[str]) -> None:
    """Copy the submission beside its graded notebook, the course's own files over it, as nbgrader does."""
    ignored = [*work.course.folders.ignore, "*.ipynb"]
    for name in regular_files(work.folder, ignored, notes):
        copy_file(work.folder / name, target / name)
    source = work.course.path("source", ".", work.assignment)
    theirs = set(work.course.config.Autograde.get("exclude_overwriting", {}).get(work.assignment, ()))
    for name in regular_files(source, ignored, []):
        if name not in theirs:
            copy_file(source / name, target / name)


def regular_files(folder: Path, ignored: Iterable[str], notes: list[str]) -> Iterator[str]:
    """Yield the paths, relative to `folder`, of its regular files; links and devices are noted and left."""
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not any(fnmatch(name, glob) for glob in ignored))
        for name in sorted(files):
            path = Path(current) / name
            if any(fnmatch(name, glob) for glob in ignored):
                continue
            if path.is_symlink() or not path.is_file():
                notes.append(f"{path.relative_to(folder)}: a link or a special file, left out")
                continue
            yield str(path.relative_to(folder))


def copy_file(source: Path, target: Path) -> None:
    """Copy one file, replacing what is there, making the folders on the way."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)


def _set_permissions(target: Path, course: NbCourse) -> None:
    shared = course.folders.groupshared
    mode = int(str(course.config.Autograde.get("permissions", 664 if shared else 444)), 8)
    for current, _, files in os.walk(target):
        if shared:
            os.chmod(current, os.stat(current).st_mode | 0o2770)
        for name in files:
            os.chmod(os.path.join(current, name), mode)


def _record(
    gradebook: Gradebook, work: _Work, graded: Graded, notebooks: dict[str, nbformat.NotebookNode]
) -> None:
    """Write the scores and automatic comments of one submission in one transaction, as nbgrader would."""
    with _one_transaction(gradebook):
        submission = _open_submission(gradebook, work)
        for name, notebook, grade in _rows(gradebook, submission, "Grade"):
            if notebook not in notebooks:
                grade.auto_score, grade.needs_manual_grade = 0, False
            elif name in (cells := _cells_by_id(notebooks[notebook])):
                _record_score(grade, cells[name], name in graded.for_a_person)
        for name, notebook, comment in _rows(gradebook, submission, "Comment"):
            if notebook in notebooks and name in (cells := _cells_by_id(notebooks[notebook])):
                comment.auto_comment = _automatic_comment(cells[name])
        _set_late_penalty(gradebook, work.course, submission)
        gradebook.db.flush()
        gradebook.db.refresh(submission)
        graded.score = max(0.0, submission.score - submission.late_submission_penalty)
        graded.max_score = submission.max_score


@contextmanager
def _one_transaction(gradebook: Gradebook) -> Iterator[None]:
    """Let nbgrader's functions, each of which commits, write together: a commit waits for the disk."""
    session = gradebook.db()
    session.commit, commit = session.flush, session.commit
    try:
        yield
        commit()
    finally:
        del session.commit


def _rows(gradebook: Gradebook, submission: Any, kind: str) -> list[tuple[str, str, Any]]:
    """Return (cell, notebook, row) of every Grade or Comment of a submission, in one query."""
    from nbgrader import api

    table = getattr(api, kind)
    return (
        gradebook.db.query(api.BaseCell.name, api.Notebook.name, table)
        .join(api.BaseCell, table.cell_id == api.BaseCell.id)
        .join(api.Notebook, api.BaseCell.notebook_id == api.Notebook.id)
        .join(api.SubmittedNotebook, table.notebook_id == api.SubmittedNotebook.id)
        .filter(api.SubmittedNotebook.assignment_id == submission.id)
        .all()
    )


def _cells_by_id(notebook: nbformat.NotebookNode) -> dict[str, nbformat.NotebookNode]:
    return {grade_id(cell): cell for cell in notebook.cells if grade_id(cell)}


def _record_score(grade: Any, cell: nbformat.NotebookNode, for_a_person: bool) -> None:
    from nbgrader.utils import determine_grade, is_grade

    if not is_grade(cell):
        return  # a task: only a person gives points for it
    grade.auto_score, _ = determine_grade(cell, log)
    grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None or for_a_person


def _automatic_comment(cell: nbformat.NotebookNode) -> str | None:
    from nbgrader.utils import compute_checksum, is_task

    untouched = cell.metadata.nbgrader.get("checksum") == compute_checksum(cell)
    return "No response." if untouched and not is_task(cell) else None


def _open_submission(gradebook: Gradebook, work: _Work) -> Any:
    from sqlalchemy.exc import SAWarning

    timestamp = None
    try:
        timestamp = work.course.folders.get_existing_timestamp(str(work.folder))
    except Exception as error:  # nbgrader parses a file that a student may have written
        log.warning("%s/timestamp.txt: no date (%s); taken as in time", work.folder, error)
    more = {"timestamp": timestamp} if timestamp else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's own, on every new submission
        gradebook.update_or_create_student(work.student)
        return gradebook.update_or_create_submission(work.assignment, work.student, **more)


def refresh_late_penalties(gradebook: Gradebook, course: NbCourse, assignment: str) -> None:
    """Take the penalty of every late submission from its score of now: points given by hand count too."""
    for submission in gradebook.assignment_submissions(assignment):
        _set_late_penalty(gradebook, course, submission)


def _set_late_penalty(gradebook: Gradebook, course: NbCourse, submission: Any) -> None:
    late = submission.total_seconds_late
    if not late and not any(notebook.late_submission_penalty for notebook in submission.notebooks):
        return
    from nbgrader.preprocessors import AssignLatePenalties

    assigner = AssignLatePenalties(config=course.config)
    assigner.init_plugin()
    for notebook in submission.notebooks:
        gradebook.db.refresh(notebook)
        student, penalty = submission.student.id, None
        if late > 0:
            penalty = assigner.plugin_inst.late_submission_penalty(student, notebook.score, late)
        if penalty is not None:
            penalty = assigner._check_late_penalty(notebook, penalty)
        notebook.late_submission_penalty = penalty
    gradebook.db.commit()


# --- unchanged submissions ----------------------------------------------------------------------------------


def _basis(course: NbCourse, assignment: str, templates: dict[str, Template]) -> str:
    """Return a hash of the course's files, the grader and the environment."""
    digest = hashlib.sha256()
    for name in ("torch", "numpy", "nbgrader", "ipython"):
        digest.update(f"{name} {version(name)} ".encode())
    digest.update(platform.python_version().encode())
    _add_files(digest, Path(__file__).parent, ["tests", "bench"])
    _add_files(digest, course.path("source", ".", assignment), [])
    for name in ("course.toml", "nbgrader_config.py"):
        if (course.root / name).is_file():
            digest.update((course.root / name).read_bytes())
    for template in templates.values():
        digest.update("\0".join(cell.source for cell in template.cells).encode())
    return digest.hexdigest()


def _fingerprint(work: _Work) -> str:
    digest = hashlib.sha256(work.basis.encode())
    _add_files(digest, work.folder, [])
    return digest.hexdigest()


def _add_files(digest: Any, folder: Path, ignored: list[str]) -> None:
    for name in regular_files(folder, ["__pycache__", ".ipynb_checkpoints", *ignored], []):
        data = (folder / name).read_bytes()
        digest.update(f"\n{name} {len(data)}\n".encode(errors="replace"))
        digest.update(data)


def results_folder(root: Path, assignment: str) -> Path:
    """Return where the full reports of an assignment lie, hidden checks included: for instructors only."""
    folder = root / ".grader" / assignment
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder.parent / ".gitignore").write_text("*\n")
    return folder


def keep_report(root: Path, assignment: str, student: str, notebook: str, report: Report) -> None:
    """Keep the report of one notebook, as nbgrader's own command and formgrader grade them."""
    path = results_folder(root, assignment) / f"{student}.json"
    data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"notes": [], "reports": {}}
    data["fingerprint"] = ""  # graded one by one: run it again with the class
    data["reports"][notebook] = json.loads(report.to_json())
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _remember(work: _Work, graded: Graded, fingerprint: str) -> None:
    data = {
        "fingerprint": "" if graded.for_a_person else fingerprint,
        "notes": graded.notes,
        "reports": {name: json.loads(report.to_json()) for name, report in graded.reports.items()},
    }
    path = results_folder(work.course.root, work.assignment) / f"{work.student}.json"
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _recall(work: _Work, gradebook: Gradebook, fingerprint: str) -> Graded | None:
    """Return the last result where nothing it follows from has changed."""
    from nbgrader.api import MissingEntry

    path = results_folder(work.course.root, work.assignment) / f"{work.student}.json"
    target = work.course.path("autograded", work.student, work.assignment)
    if not path.is_file() or not target.is_dir():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["fingerprint"] != fingerprint:
        return None
    try:
        submission = gradebook.find_submission(work.assignment, work.student)
    except MissingEntry:
        return None
    from grader.examiner import Report

    return Graded(
        work.student,
        max(0.0, submission.score - submission.late_submission_penalty),
        submission.max_score,
        {name: Report.from_json(json.dumps(report)) for name, report in data["reports"].items()},
        data["notes"],
        unchanged=True,
    )


# --- the class ----------------------------------------------------------------------------------------------


def grade(
    course_root: Path | str,
    assignment: str,
    *,
    students: Iterable[str] | None = None,
    jobs: int | None = None,
    isolation: str = "namespaces",
    force: bool = False,
    progress: Callable[[Graded, int, int], None] | None = None,
) -> list[Graded]:
    """Grade the collected submissions of `assignment` into the gradebook; return a result per student.

    Works on any nbgrader course; parts that course.toml describes are examined, other notebooks run in a
    sandbox. `jobs` submissions are graded at once (default: one per core); one process writes the database.
    A submission that is as it was, under the same checks, is not run again unless `force`. `progress` is
    called with each result, how many are done, and how many there are. A submission that cannot be graded
    gives a result with `error` and stops nobody else. Raises CourseError where the assignment was not
    released, has no submissions, or a name in `students` has none.
    """
    if isolation not in ("namespaces", "plain"):
        raise CourseError(
            f"--isolation {isolation}: grading never chooses; say namespaces, or plain on purpose"
        )
    from grader.zygote import Zygote

    with ExitStack() as stack:
        # The zygote imports torch in its own process while this one imports torch, then nbgrader.
        zygote = Zygote(["grader.cells"])
        stack.callback(zygote.close)
        starter = stack.enter_context(ThreadPoolExecutor(1))
        from grader.examiner import Examiner

        starting = starter.submit(Examiner, isolation, cells=True, zygote=zygote)
        course = NbCourse.open(course_root)
        gradebook = course.gradebook()
        stack.callback(gradebook.close)
        works = _plan(course, gradebook, assignment, students)
        pool = stack.enter_context(ThreadPoolExecutor(jobs or os.cpu_count() or 1))
        # After an error, what has not begun must not hold up the end.
        stack.callback(pool.shutdown, cancel_futures=True)
        results: list[Graded] = []
        for graded in _results(pool, starting.result(), gradebook, works, force):
            results.append(graded)
            if progress:
                progress(graded, len(results), len(works))
    return sorted(results, key=lambda graded: graded.student)


def _results(
    pool: ThreadPoolExecutor, examiner: Examiner, gradebook: Gradebook, works: list[_Work], force: bool
) -> Iterator[Graded]:
    waiting = {}
    for work in works:
        fingerprint = _fingerprint(work)
        known = None if force else _recall(work, gradebook, fingerprint)
        if known:
            yield known
        else:
            waiting[pool.submit(_grade_files, work, examiner)] = work, fingerprint
    for future in as_completed(waiting):
        yield _finish(gradebook, *waiting[future], future)


def _finish(gradebook: Gradebook, work: _Work, fingerprint: str, future: Future) -> Graded:
    from grader.sandbox import SandboxError

    try:
        graded, notebooks = future.result()
        _record(gradebook, work, graded, notebooks)
        _remember(work, graded, fingerprint)
    except (SandboxError, CourseError):
        raise
    except Exception as error:
        # One submission that trips the grader itself must not stop the class.
        gradebook.db.rollback()
        log.exception("%s could not be graded", work.student)
        return Graded(work.student, error=f"could not be graded: {type(error).__name__}: {error}")
    return graded


def _plan(
    course: NbCourse, gradebook: Gradebook, assignment: str, students: Iterable[str] | None
) -> list[_Work]:
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
    basis = _basis(course, assignment, templates)
    filters = [
        filter_
        for filter_ in (IgnorePattern(config=course.config), LimitOutput(config=course.config))
        if filter_.enabled
    ]
    return [
        _Work(course, assignment, student, folder, templates, filters, basis)
        for student, folder in folders.items()
    ]
