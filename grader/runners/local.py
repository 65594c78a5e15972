"""Grades submissions in threads of this process, each in workers of its own; the zygote is theirs together."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from grader.book import records
from grader.book.records import Record
from grader.book.results import Graded
from grader.course import CourseError
from grader.runners.submission import grade_one
from grader.runners.work import Shared, Work

if TYPE_CHECKING:
    from grader.book.ledger import Entry, Held

log = logging.getLogger(__name__)


def default_jobs() -> int:
    """How many submissions are graded at once where nobody says: one per core for root, otherwise one.

    The kernel counts pipes and descriptors in flight (pipe(7), unix(7)) per user. Under root each job has a user of
    its own; without root all share one, and a hostile submission could use up what an honest one beside it needs.
    """
    if os.geteuid() != 0:
        return 1
    # The cores that this process may use: a container or taskset(1) leaves it fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def grade_if_needed(
    shared: Shared, student: str, folder: Path, held: Held | None, force: bool, starting: Future
) -> tuple[Graded, Entry | None]:
    """Grade one submission where anything of it is to be run or written; runs in a thread."""
    from grader.sandbox.build import SandboxError

    try:
        with Work.look(shared, student, folder, held) as work:
            if force:
                work.record = None
            elif known := work.unchanged():
                return known, None
            return grade_one(work, starting.result())
    except (SandboxError, CourseError):
        raise
    except Exception as error:
        # One submission that trips the grader itself must not stop the class.
        log.exception("%s could not be graded", student)
        why = f"could not be graded: {type(error).__name__}: {error}"
        records.save(shared.course.root, shared.assignment, Record(student, error=why))
        records.log_run(shared.course.root, shared.assignment, student, [why])
        return Graded(student, error=why), None
