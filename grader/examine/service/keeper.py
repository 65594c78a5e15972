"""The thread that looks after a server's job: it answers calls of the model, takes what is printed, sees the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from grader.examine.job import GRACE, Job
from grader.examine.service.stub import Model
from grader.sandbox import wire

TICK = 0.05  # seconds in which the keeper notices that it is to stop
_EARLY = 0.002  # seconds that a selector may be late
_TAKE = 5.0  # seconds that a worker may take to take an answer of the model


class Keeper:
    """Looks after a job from `start` to `stop`; meanwhile nobody else may handle what arrives."""

    def __init__(
        self, job: Job, model: Model | None, stretch: float, give_up: Callable[[BaseException], None]
    ):
        """`give_up(error)` is called where what is raised here leaves nobody to look after the job."""
        self._job, self._model, self._stretch, self._give_up = job, model, stretch, give_up
        self._stop, self._last = False, None
        self._problem: BaseException | None = None
        self.over = threading.Event()
        """Set when the function has ended, or the worker."""
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Begin to look after the job."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the job to the caller."""
        self._stop = True
        if self._thread.ident is not None:
            self._thread.join()

    def raise_problem(self) -> None:
        """Raise what ended the keeper, such as StudentError where too much was printed."""
        if self._problem is not None:
            raise self._problem

    def code(self, key: str) -> int | None:
        """Return the exit code of a function that returned, under `key`, or of a worker that ended without a word.

        None where it still runs, or said something else: that it raised, or nonsense.
        """
        if not self.over.is_set():
            return None
        if self._last is None:
            code = self._job.exits.get(0)
            return code if code is None or code <= 128 else 128 - code
        code = self._last.get(key) if isinstance(self._last, dict) else None
        return code if type(code) is int and 0 <= code < 256 else None

    def give_back(self) -> None:
        """Put the last word back where it came from, for `explain_failure`."""
        if self._last is not None and not self._job.inbox[0]:
            self._job.inbox[0].append(self._last)

    def _keep(self) -> None:
        job = self._job
        try:
            while not self._stop:
                if job.wait(lambda: self._stop or bool(job.inbox[0]), time.perf_counter() + TICK):
                    if not self._stop:
                        self._hear(job.inbox[0].pop(0))
                elif (job.closed[0] or 0 in job.exits) and not self.over.is_set():
                    end = time.perf_counter() + GRACE * self._stretch
                    job.wait(lambda: self._stop or 0 in job.exits, end)
                    self.over.set()
        except BaseException as error:  # the check's thread raises it
            self._problem = error
            self.over.set()
            self._give_up(error)

    def _hear(self, message: Any) -> None:
        """Answer a call of the model; anything else is the worker's last word."""
        asks = isinstance(message, dict) and type(message.get("ask")) is int
        if not asks or self._model is None:
            if not self.over.is_set():
                self._last = message
                self.over.set()
            return
        began = time.perf_counter()
        answer, seconds = self._model.ask(message.get("batch"))
        frame = wire.encode({"ask": message["ask"], **answer})
        job, due = self._job, began + seconds
        job.wait(lambda: self._stop, due - _EARLY)
        if not self._stop:
            time.sleep(max(0.0, due - time.perf_counter()))
            job.send_frame(0, frame, time.perf_counter() + _TAKE)
