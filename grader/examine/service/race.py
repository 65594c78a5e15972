"""One side of a comparison of servers: it answers bursts of questions, and stands still between them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from grader.examine.checks import StudentError
from grader.examine.compare import Seconds
from grader.examine.service.serve import Server


class Rival:
    """A server that is frozen while nobody asks it, see `grader.examine.compare.Side`."""

    def __init__(self, server: Server, *, at: float | Sequence[float] | None, by: str):
        """`at` and `by` are those of `Submission.compare_servers`; `server` is frozen, and closed with this."""
        self._server, self._at, self._by = server, at, by
        try:
            server.freeze(True)
        except BaseException:
            server.close()
            raise

    def call(self, arguments: Sequence[Any], deadline: float) -> tuple[list[Any], Seconds]:
        """Ask a burst of questions; return the answers and what they took, see `by`.

        Work between two bursts is none: all of a server's time between two freezes is in its processor time, and
        what it still does when all is answered ends with the freeze.
        """
        server = self._server
        before = server.usage()
        server.freeze(False)
        left = max(0.0, deadline - time.perf_counter())
        load = server.load(arguments, at=self._at, timeout=left)
        replies = load.replies()
        server.freeze(True)
        after = server.usage()
        answers = [reply.answer for reply in replies]
        if len(answers) < len(arguments):
            raise StudentError("your server did not answer all that it was asked")
        if self._by == "each":
            # Processor time is that of all questions together, and cannot be held against the mean of one.
            return answers, Seconds(sum(reply.seconds for reply in replies) / len(replies), None)
        cpu = after.cpu_seconds - before.cpu_seconds if before and after else None
        return answers, Seconds(max(reply.done for reply in replies) - load.began, cpu)

    def close(self) -> None:
        """End the server."""
        self._server.close()
