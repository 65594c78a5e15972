"""Who may run: so many submissions at once, and none once grading is stopped."""

from __future__ import annotations

import threading

from grader.sandbox.calls import SandboxError


class Turns:
    """A context that so many threads may be in at once; a thread that enters it waits for its turn."""

    def __init__(self, count: int):
        self._free, self._stopped = threading.Semaphore(count), False

    def __enter__(self) -> None:
        self._free.acquire()
        if self._stopped:
            self._free.release()
            raise SandboxError("grading was stopped")

    def __exit__(self, *_: object) -> None:
        self._free.release()

    def stop(self) -> None:
        """Let nobody in any more: who waits, or comes, gets SandboxError."""
        self._stopped = True
