"""One submission of a class: what it is now, what is known of its last run, and what is therefore to be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.book import records, settings
from grader.book.keys import (
    PLAIN,
    Key,
    check_digests,
    digest_of,
    environment_digest,
    file_digest,
    folder_digest,
    limits_digest,
)
from grader.book.nbgrader_course import NbCourse
from grader.book.records import Record, results_folder
from grader.book.results import Graded
from grader.course import Part
from grader.examine.report import UNSETTLED
from grader.notebooks.template import Template
from grader.sandbox.packed import Packed
from grader.tree import COURSES_OWN, STAMP

if TYPE_CHECKING:
    from grader.book.ledger import Held
    from grader.notebooks.limits import Seconds
    from grader.notebooks.run import Prepared


@dataclass(frozen=True)
class Shared:
    """What the submissions of one assignment share; threads read it, and touch no database."""

    course: NbCourse
    assignment: str
    templates: dict[str, Template]
    filters: Callable[[], list[Any]]  # nbgrader's own preprocessors on outputs, imported when there are some
    keys: dict[str, dict[str, Key]]  # by notebook and check, all but the submission's own field
    basis: str  # hash of what the rows and the autograded folders follow from, besides the submission
    wall: Seconds  # of a cell of a plain notebook
    prepared: dict[str, Prepared] = field(default_factory=dict)  # of plain notebooks, by name

    def part(self, notebook: str) -> Part | None:
        return self.course.part(self.assignment, notebook)

    def autograded(self, student: str) -> Path:
        return self.course.path("autograded", student, self.assignment)


@dataclass
class Work:
    """One submission: what it is now, and what is known of its last run."""

    shared: Shared
    student: str
    folder: Path
    record: Record | None
    held: Held | None
    packed: Packed  # the files that a worker sees, read once: its digest is what verdicts follow from
    notebooks: dict[str, str] = field(default_factory=dict)  # hash of each that was asked for
    basis: str = ""

    @classmethod
    def look(cls, shared: Shared, student: str, folder: Path, held: Held | None) -> Work:
        """Read the submission and what is kept of it; close it when done."""
        record = records.load(shared.course.root, shared.assignment, student)
        parts = [part for name in shared.templates if (part := shared.part(name))]
        packed = Packed(folder, [name for part in parts for name in part.files])
        notebooks = {name: file_digest(folder / f"{name}.ipynb") for name in shared.templates}
        stamp = file_digest(folder / STAMP)
        basis = digest_of(shared.basis, packed.digest, stamp, *notebooks.values())
        return cls(shared, student, folder, record, held, packed, notebooks, basis)

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self.packed.close()

    def keys(self, notebook: str) -> dict[str, Key]:
        # A worker sees no plain notebook, but runs its cells; it may be larger than what is packed.
        seen = self.packed.digest
        if self.shared.part(notebook) is None:
            seen = digest_of(seen, self.notebooks[notebook])
        return {name: replace(key, submission=seen) for name, key in self.shared.keys[notebook].items()}

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
        return digest is not None and file_digest(path) == digest

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
            whys=self.record.whys_by_cell(),
        )


def basis_of(course: NbCourse, assignment: str, templates: dict[str, Template], keys: Any) -> str:
    """Return a hash of what rows and autograded folders follow from, whoever submits."""
    digests = [folder_digest(course.path("source", ".", assignment), COURSES_OWN)]
    digests += [file_digest(path) for path in (course.root / "course.toml", *settings.of_course(course.root))]
    cells = [[cell.source, cell.metadata] for template in templates.values() for cell in template.cells]
    known = {name: [key.environment for key in found.values()][:1] for name, found in keys.items()}
    return digest_of(*digests, json.dumps(cells, default=str), json.dumps(known))


def verdict_keys(
    course: NbCourse, assignment: str, templates: dict[str, Template], isolation: str, wall: Seconds
) -> dict[str, dict[str, Key]]:
    """Return the keys of every check of every notebook, but for the field of the submission."""
    environment = environment_digest()
    source = folder_digest(course.path("source", ".", assignment), COURSES_OWN)
    config = digest_of(*map(file_digest, settings.of_course(course.root)))
    modes = results_folder(course.root, assignment) / "modes"
    found = {}
    for name, template in templates.items():
        part = course.part(assignment, name)
        if part is not None:
            digests = check_digests(part)
        else:
            cells = json.dumps([[cell.source, cell.metadata] for cell in template.cells], default=str)
            plan = file_digest(modes / f"{name}.json")
            digests = {PLAIN: digest_of(cells, source, config, plan)}
        limits = limits_digest(part, isolation, wall)
        found[name] = {check: Key("", digest, environment, limits) for check, digest in digests.items()}
    return found
