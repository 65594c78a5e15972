"""Where the ranks of a job stand, as they say themselves: a hint for the student, and never a reason."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from grader.sandbox.procfs import signal_child
from grader.sandbox.standstill import SIGNAL

SAYING = 0.5  # seconds in which a rank says where it stands
MOST_READ = 1 << 16  # characters of what a rank says
MOST_PLACES, MOST_NAME = 4, 60  # places that a sentence names; characters of a name


def places(job: Any, ranks: Sequence[int], names: Sequence[str]) -> dict[int, tuple[str, int, str]]:
    """Ask ranks where they stand; return the file of the submission, the line, and what was called there.

    All of it is the worker's word, except that the file is one of `names`, or empty where it stands in none.
    """
    found = {}
    for rank in ranks:
        before = len(job.text("stderr"))
        told = lambda start=before: job.text("stderr")[start:]  # noqa: E731
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            signal_child(job.first_pids[rank], SIGNAL)
            job.wait(lambda told=told: " in <module>\n" in told(), time.perf_counter() + SAYING)
            if place := where(told(), names):
                found[rank] = place
    return found


def where(trace: str, names: Sequence[str]) -> tuple[str, int, str] | None:
    """Return the innermost place in the submission that `faulthandler` has written down, and the call there."""
    inner, called = "", ""
    known, trace = set(names), trace[:MOST_READ]
    frames = re.findall(r'^  File "([^"\n]*)", line (\d{1,9}) in ([^\n]*)$', trace, re.M)
    for path, line, function in frames:
        name = path.rpartition("/submission/")[2]
        if "/submission/" in path and name in known and int(line):
            return name, int(line), called
        if function != "wrapper":  # a decorator says nothing
            called = _call(path, function)
            inner = inner or called
    return ("", 0, inner) if frames else None


def explain(
    job: Any,
    ranks: Sequence[int],
    seconds: float,
    names: Sequence[str],
    source: Callable[[str], str],
    asked: bool = True,
) -> tuple[str, str]:
    """Return a sentence on ranks that owe an answer and stand still, and the line of code where the first stands.

    `asked` says whether the ranks were asked to do something, or are still importing the submission.
    """
    world = len(job.inbox)
    told, code = _told(job, ranks, names, source, ("waits", "wait"))
    if len(ranks) == world:
        who = "your code stands" if world == 1 else f"all {world} ranks stand"
    else:
        who = f"{_name(ranks, world)} stand{'s' if len(ranks) == 1 else ''}"
        told.append("the others have returned" if asked else "the others wait for it to start")
    return f"{who} still, nobody has used a processor for {seconds:.2g} s: {'; '.join(told)}", code


def explain_slow(
    job: Any,
    ranks: Sequence[int],
    seconds: float,
    names: Sequence[str],
    source: Callable[[str], str],
    together: bool = False,
) -> tuple[str, str]:
    """Return a sentence on ranks whose time is over although they work, and the line where the first one is.

    `together` says that earlier calls have spent a part of these seconds.
    """
    world = len(job.inbox)
    who = "your code" if world == 1 else _name(ranks, world)
    told, code = _told(job, ranks, names, source, ("is", "are"))
    allowed = f"{seconds:.3g} s" + (" for all calls of this check together" if together else "")
    return f"{who} did not answer within {allowed}: {'; '.join(told)}", code


def _told(
    job: Any, ranks: Sequence[int], names: Sequence[str], source: Callable[[str], str], verbs: tuple[str, str]
) -> tuple[list[str], str]:
    """Return where each of `ranks` says that it is, those in one place together, and the first one's line of code."""
    found = places(job, ranks, names)
    together: dict[tuple[str, int, str] | None, list[int]] = {}
    for rank in ranks:
        together.setdefault(found.get(rank), []).append(rank)
    world = len(job.inbox)
    told = [_sentence(place, those, world, verbs) for place, those in list(together.items())[:MOST_PLACES]]
    code = ""
    for name, line, _ in found.values():
        with contextlib.suppress(Exception):  # a hint: the file may be gone, or shorter than the worker says
            code = code or source(name).splitlines()[line - 1].strip()
    return told, code


def _sentence(
    place: tuple[str, int, str] | None, ranks: Sequence[int], world: int, verbs: tuple[str, str]
) -> str:
    if place is None:
        return f"{_name(ranks, world)} did not say where"
    name, line, called = place
    file = re.sub(r"[^A-Za-z0-9_./ -]", "?", name)[:MOST_NAME]
    at = f"{file} line {line}" if file else "outside your files"
    verb = verbs[len(ranks) > 1]
    return f"{_name(ranks, world)} {verb} {f'in {called}, ' if called else 'at '}{at}"


def _name(ranks: Sequence[int], world: int) -> str:
    if world == 1:
        return "it"
    return f"rank {ranks[0]}" if len(ranks) == 1 else "ranks " + ", ".join(map(str, ranks))


def _call(path: str, function: str) -> str:
    """Return how a program would name a function, as far as its name looks like one."""
    stem = os.path.basename(path).removesuffix(".py")
    called = f"{'dist' if stem == 'distributed_c10d' else stem}.{function}"
    return called if re.fullmatch(r"[A-Za-z0-9_.]+", called) and len(called) <= MOST_NAME else ""
