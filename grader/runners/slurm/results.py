"""What becomes of answers: autograded folders, records, and a result for the book's writer, in a few threads."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.book import records
from grader.book.records import Record
from grader.book.results import Graded
from grader.course import CourseError
from grader.runners.slurm.found import Found, Stale
from grader.runners.slurm.rounds import Answer, Asked
from grader.runners.submission import grade_one
from grader.runners.work import Shared, Work

if TYPE_CHECKING:
    from grader.book.ledger import Entry, Held

log = logging.getLogger(__name__)


class Results:
    """A result to come for each submission. All but `all` and `end` are for one thread."""

    def __init__(self, shared: Shared, folders: dict[str, Path], held: dict[str, Held], force: bool):
        """Promise a result for each of `folders`; with `force` what is kept of earlier runs counts for nothing."""
        self._shared, self._folders, self._held, self._force = shared, folders, held, force
        self._futures: dict[str, Future[tuple[Graded, Entry | None]]] = {name: Future() for name in folders}
        self._pool = ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 1)))
        self.waiting = 0  # answers that are becoming results
        # As they have become one: the student where that must be asked again, else the empty string.
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()

    def all(self) -> Iterator[Future[tuple[Graded, Entry | None]]]:
        """Return all that are to come. None is kept here once it is there: a class need not fit into memory."""
        return iter(list(self._futures.values()))

    def ask(self, student: str) -> Asked | None:
        """Return what must be examined of a submission; None where its result is known, or needs no examiner."""
        folder = self._folders[student]
        with self._look(student) as work:
            if not self._force and (known := work.unchanged()):
                self._futures.pop(student).set_result((known, None))
                return None
            checks = {name: sorted(work.to_run(name)) for name in self._shared.templates}
            checks = {name: found for name, found in checks.items() if found}
            if checks:
                return Asked(student, str(folder), work.packed.digest, checks)
        self.enter(student, None)
        return None

    def enter(self, student: str, answer: Answer | None, attempt: str = "") -> None:
        """Begin to make a result of an answer, or of what is kept where nothing was to be examined."""
        self.waiting += 1
        self._pool.submit(self._enter, student, answer, attempt)

    def stale(self) -> Iterator[str]:
        """Yield the students whose files or checks had changed when their answer was to be entered."""
        while True:
            try:
                student = self._done.get_nowait()
            except queue.Empty:
                return
            self.waiting -= 1
            if student:
                yield student

    def note(self, student: str, line: str) -> None:
        """Add a line to a submission's own log."""
        records.log_run(self._shared.course.root, self._shared.assignment, student, [line])

    def fail(self, student: str, why: str) -> None:
        """Say that a submission could not be graded; it stops nobody else."""
        records.save(self._shared.course.root, self._shared.assignment, Record(student, error=why))
        self.note(student, why)
        self._futures.pop(student).set_result((Graded(student, error=why), None))

    def end(self, error: BaseException) -> None:
        """Give this error to whoever waits for a result that will not come."""
        for future in list(self._futures.values()):
            with contextlib.suppress(InvalidStateError):  # it came after all
                future.set_exception(error)

    def close(self) -> None:
        """Wait for the threads; what has not begun does not begin."""
        self._pool.shutdown(cancel_futures=True)

    def _look(self, student: str) -> Work:
        work = Work.look(self._shared, student, self._folders[student], self._held.get(student))
        if self._force:
            work.record = None
        return work

    def _enter(self, student: str, answer: Answer | None, attempt: str) -> None:
        again = ""
        try:
            with self._look(student) as work:
                found: Any = Found(answer, work)
                result = grade_one(work, found, answer.seconds if answer else 0.0)
            if answer:
                self.note(student, f"examined on {answer.node} in {answer.seconds:.2f} s, attempt {attempt}")
            self._futures.pop(student).set_result(result)
        except Stale:
            again = student
        except InvalidStateError:
            log.info("%s: nobody waits for it any more", student)
        except CourseError as error:
            self._futures.pop(student).set_exception(error)
        except Exception as error:
            log.exception("%s could not be graded", student)
            self.fail(student, f"could not be graded: {type(error).__name__}: {error}")
        finally:
            self._done.put(again)
