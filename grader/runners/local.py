"""Grades submissions in threads of this process, each in workers of its own; the zygote is theirs together."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.book import records
from grader.book.records import Record
from grader.book.results import Graded
from grader.course import CourseError
from grader.examine.turns import Turns
from grader.notebooks import NOTEBOOK, PROGRAMS
from grader.runners.submission import grade_one
from grader.runners.work import Shared, Work

if TYPE_CHECKING:
    from grader.book.ledger import Entry, Held
    from grader.examine.examiner import Examiner
    from grader.sandbox.zygote import Zygote

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


class Starting:
    """An examiner that starts when it is needed, and not before: where nothing has changed, nobody needs it."""

    def __init__(self, isolation: str, zygote: Mapping[str, Any], jobs: int | None = None):
        """`zygote` is what its zygote is made with, see `zygote_for`; of submissions at most `jobs` run at once."""
        self._isolation, self._with = isolation, zygote
        self._turns = None if jobs is None else Turns(jobs)
        self._lock, self._pool = threading.Lock(), ThreadPoolExecutor(1)
        self._zygote: Zygote | None = None
        self._examiner: Future[Examiner] | None = None

    def begin(self) -> Future[Examiner]:
        """Start it, where it was not, while the caller goes on."""
        from grader.sandbox.zygote import Zygote

        with self._lock:
            if self._examiner is None:
                self._zygote = Zygote(**self._with)
                self._examiner = self._pool.submit(self._start, self._zygote)
            return self._examiner

    def _start(self, zygote: Zygote) -> Examiner:
        from grader.examine.examiner import Examiner
        from grader.examine.place import sweep_scratch

        sweep_scratch()
        examiner = Examiner(self._isolation, zygote=zygote)
        examiner.place.turns = self._turns
        return examiner

    def result(self) -> Examiner:
        """Return it once it is there. Raises SandboxError where it cannot be had."""
        return self.begin().result()

    def stop(self) -> None:
        """Let no submission begin to run any more: who waits for a turn gets SandboxError."""
        if self._turns is not None:
            self._turns.stop()

    def close(self) -> None:
        """End the zygote, and every job with it."""
        self._pool.shutdown()
        if self._zygote is not None:
            self._zygote.close()


def zygote_for(root: Path, assignment: str) -> dict[str, Any]:
    """Return with what `Zygote` is made for an assignment of the course at `root`; makes no folder there."""
    if not (root / "course.toml").exists():
        return {"programs": NOTEBOOK, "torch": _mentions_torch(root / "source" / assignment)}
    found = records.kept_modules(root, assignment)
    # Parts use optimizers and autograd functions, which import PyTorch's compiler: a second for every worker.
    return {"programs": PROGRAMS, "modules": ["torch._dynamo"] if found is None else found}


def _mentions_torch(folder: Path) -> bool:
    """Return whether plain notebooks may use torch: a second of importing, and twice the time of every fork."""
    try:
        texts = [path for path in folder.rglob("*") if path.suffix in (".ipynb", ".py") and path.is_file()]
        return not texts or any(b"torch" in path.read_bytes() for path in texts)
    except OSError:  # said by who needs the file
        return True


def grade_if_needed(
    shared: Shared,
    student: str,
    folder: Path,
    held: Held | None,
    force: bool,
    starting: Starting,
    *,
    keep: bool = True,
) -> tuple[Graded, Entry | None]:
    """Grade one submission where anything of it is to be run or written; runs in a thread.

    Without `keep` nothing is written, see `grade_one`.
    """
    from grader.sandbox.build import SandboxError

    try:
        with Work.look(shared, student, folder, held) as work:
            if force:
                work.record = None
            elif known := work.unchanged():
                return known, None
            return grade_one(work, starting.result(), keep=keep)
    except (SandboxError, CourseError):
        raise
    except Exception as error:
        # One submission that trips the grader itself must not stop the class.
        log.exception("%s could not be graded", student)
        why = f"could not be graded: {type(error).__name__}: {error}"
        if keep:
            records.save(shared.course.root, shared.assignment, Record(student, error=why))
            records.log_run(shared.course.root, shared.assignment, student, [why])
        return Graded(student, error=why), None
