"""What a worker says when it breaks, in one sentence to the student."""

from __future__ import annotations

import time
from typing import Any

from grader.examine.checks import StudentError
from grader.examine.job import GRACE, Job
from grader.examine.printed import who
from grader.text import plain

INSTEAD = "Take it out and print what you want to see; the check with --output shows all that is printed."


def explain_failure(job: Job, stretch: float) -> StudentError:
    """Return the failure of a job that most likely came first, but for its memory."""
    world = len(job.inbox)
    for rank, why in enumerate(job.closed):
        errors = [m for m in job.inbox[rank] if isinstance(m, dict) and "error" in m]
        if why and not errors:
            end = time.perf_counter() + GRACE * stretch
            job.wait(lambda rank=rank: rank in job.exits, end)
            return StudentError(f"{who([rank], world)} {why}{_exit(job.exits.get(rank))}")
    found = []
    for rank, box in enumerate(job.inbox):
        for message in box:
            error = message.get("error") if isinstance(message, dict) else None
            found.append((_is_echo(error), rank, error))
    told = [entry for entry in found if entry[2] is not None]
    _, rank, error = min(told, key=lambda entry: entry[:2], default=(False, 0, None))
    if not isinstance(error, dict):
        return StudentError("your code answered something else than it was asked")
    kind, message = plain(error.get("type"), 80), plain(error.get("message"), 300)
    if kind == "NotImplementedError" and message.startswith("not implemented yet"):
        return StudentError(message)
    where = ""
    if plain(error.get("file"), 80):
        where = f" at {plain(error['file'], 80)}, line {plain(error.get('line'), 10)}"
        message = message.removesuffix(".")  # the place follows
    if asks := _asks_the_keyboard(kind, message):
        told = f" ({kind}: {message})" if message else ""
        return StudentError(f"{asks}{where}: nobody sits at the keyboard during a check{told}. {INSTEAD}")
    speaker = f"{who([rank], world)} raised " if world > 1 else "raised "
    return StudentError(
        f"{speaker}{kind}: {message}{where}", yours=plain(error.get("code"), 200), expected="no exception"
    )


def _is_echo(error: Any) -> bool:
    """True for what a rank says when a neighbour is gone."""
    text = error.get("message") if isinstance(error, dict) else ""
    return isinstance(text, str) and any(
        words in text for words in ("Connection closed by peer", "Connection reset", "Broken pipe")
    )


def _asks_the_keyboard(kind: str, message: str) -> str:
    """Return what a submission did that waits for somebody to type, as the exception that came of it tells."""
    if kind == "BdbQuit":
        return "stopped at breakpoint()"
    return "asked for input()" if (kind, message) == ("EOFError", "EOF when reading a line") else ""


def _exit(code: int | None) -> str:
    if code is None:
        return ""
    return f" (killed by signal {code - 128})" if code > 128 else f" (exit code {code})"
