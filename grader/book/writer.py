"""The one thread that writes a class's gradebook."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from grader.book.results import Graded
from grader.course import CourseError
from grader.whole_files import to_disk

if TYPE_CHECKING:
    from grader.book.ledger import Entry, Ledger

log = logging.getLogger(__name__)


_BATCH = 20  # submissions in one transaction
_BATCH_SECONDS = 1.0  # that a result may wait for the others of its transaction


class GradebookWriter:
    """The one thread that writes the gradebook, some submissions in each transaction: a commit waits for the disk."""

    def __init__(self, ledger: Ledger, root: Path, *, keep: bool = True):
        """Without `keep` results come with the scores that they would have, and nothing is written."""
        self._ledger, self._root, self._keep = ledger, root, keep

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
        if self._keep:
            # What the rows speak of must not be lost by a power cut that spares the rows.
            to_disk(self._root)
        try:
            held = self._ledger.write([entry for _, entry in batch], keep=self._keep)
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
