"""Decides where each cell of a plain notebook runs, by running the instructor's own answers both ways.

This happens when an assignment is released, or before its first submission is graded where it was released by
`nbgrader generate_assignment`. While a student's work runs nothing is decided any more: there, what cannot cross
is a failure of that cell.
"""

from __future__ import annotations

import copy
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.examine.place import Place, cores
from grader.lean import nbformat
from grader.notebooks.ahead import modules_of
from grader.notebooks.limits import of_cells
from grader.notebooks.outcomes import lost, over, raised, reason_of, verdicts_of
from grader.notebooks.plan import Cell, Plan, is_test, key_of, make_plan, runs, steps_of
from grader.notebooks.rebuild import rebuild
from grader.notebooks.run import MEMORY, Executed, Prepared, no_files, run_shared, run_split
from grader.notebooks.template import Template, grade_id, is_answer
from grader.sandbox.build import SandboxError
from grader.sandbox.packed import Packed

if TYPE_CHECKING:
    from grader.notebooks.limits import Seconds

ROUNDS = 12  # runs of the reference until the modes must stand; each takes as long as one submission
# A test that isolation makes that many times slower, and this many seconds (times `Place.stretch`), is shared.
SLOWER, AT_LEAST = 5.0, 2.0
AT_ONCE = 5  # processes that three runs at once have
_NEXT = {"isolated": "copy-back", "copy-back": "shared"}
# What a submission may use of memory, in multiples of what the reference used.
ROOM = 2
_UNIT = 256 << 20


def prepare(
    template: Template,
    folder: Path,
    modes: Path,
    ignored: Iterable[str],
    place: Callable[[], Place],
    wall: Seconds,
    say: Callable[[str], None] = print,
    memory: int = 0,
) -> Prepared:
    """Return the plan of one notebook, decided now where it never was or the notebook has changed since.

    `folder` is the assignment's source, of which the names that match `ignored` are no part. The plan is kept in
    the folder `modes`. `place` gives the workers, where they are needed. There is no plan where the instructor's
    notebook is gone: its tests then share the student's interpreter. `memory` is the limit of a worker in bytes
    where the instructor set one; otherwise it follows from what the reference needs. Raises SandboxError where no
    worker can be started.
    """
    source = folder / f"{template.name}.ipynb"
    path = modes / f"{template.name}.json"
    reference = rebuild(template, source)[0] if source.is_file() else None
    plan = Plan.load(path, key_of(template, reference))
    if plan is None and reference is None:
        return Prepared(None, no_files(), memory or MEMORY, template.hidden)
    files = course_files(folder, ignored)
    if plan is None:
        say(
            f"{template.name}: running the reference to see which tests can be isolated from the student's code"
        )
        begun = time.monotonic()
        plan = _decide_undisturbed(template, reference, place(), files, wall, memory or _for_a_reference())
        plan.save(path)
        say(
            f"{template.name}: found out in {time.monotonic() - begun:.1f} s, and kept until the notebook changes"
        )
        for line in describe(template.name, plan, memory):
            say(line)
    return Prepared(plan, files, memory or allowed_memory(plan), template.hidden)


def _coarse(peak: int) -> int:
    """Return a peak such that another run, of a few MiB more or less, gives the same: a plan is part of every key.

    0 where the usual limit leaves room enough, else whole units of 256 MiB.
    """
    return 0 if ROOM * peak <= MEMORY else -(-peak // _UNIT) * _UNIT


def allowed_memory(plan: Plan) -> int:
    """Return how many bytes each worker of a submission may use where the instructor has not said it."""
    return max(MEMORY, min(ROOM * plan.memory, _machine()))


def _for_a_reference() -> int:
    return max(MEMORY, _machine() // 2)


def _machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _decide_undisturbed(
    template: Template,
    reference: nbformat.NotebookNode,
    place: Place,
    files: Packed,
    wall: Seconds,
    memory: int,
) -> Plan:
    # What a killed worker did not answer says nothing of the notebook, and a plan is kept.
    plan, _, undisturbed = place.undisturbed(
        lambda: decide(template, reference, place, files, wall, memory), 5
    )
    if undisturbed:
        return plan
    raise SandboxError(
        f"{template.name}: workers that run the reference are killed again and again; see who does"
    )


def course_files(folder: Path, ignored: Iterable[str]) -> Packed:
    """Return the files of an assignment's source folder, without its notebooks, as workers get them."""
    from grader.tree import copy_file, regular_files

    with tempfile.TemporaryDirectory() as copied:
        if folder.is_dir():
            for name in regular_files(folder, [*ignored, "*.ipynb"], []):
                copy_file(folder / name, Path(copied) / name)
        return Packed(Path(copied))


def decide(
    template: Template,
    reference: nbformat.NotebookNode,
    place: Place,
    files: Packed,
    wall: Seconds,
    memory: int = MEMORY,
) -> Plan:
    """Return the plan under which every test gives the reference, and empty answers, what a shared run gives.

    Where no other does, all tests are shared. `wall` is the limit of a cell in seconds, `memory` that of a worker in
    bytes.
    """
    place.take_peak_memory()
    cells = list(filter(runs, reference.cells))
    ran = run_shared(place, _texts(cells), files, of_cells(wall, cells), memory=memory, report=True)
    modules = place.zygote.safe(modules_of(template, cells, ran.modules))
    place.zygote.preload(modules)
    peak = place.take_peak_memory()
    # Several runs at once must not make a cell too slow, or the machine too small.
    limits = of_cells(wall, cells)
    at_once = all(took * AT_ONCE < limit for took, limit in zip(ran.seconds, limits, strict=True))
    at_once = at_once and 2 * AT_ONCE * peak < _machine() and cores() > 1
    run = _Run(place, files, wall, memory, at_once)
    plan = _first_that_holds(template, reference, verdicts_of(cells, ran), run)
    plan.memory = _coarse(max(peak, place.take_peak_memory()))
    plan.lost, plan.raised = lost(cells, ran), raised(cells, ran)
    plan.over = over(cells, ran)
    plan.modules = modules
    return plan


@dataclass
class _Run:
    """How the reference and the empty answers run."""

    place: Place
    files: Packed
    wall: Seconds
    memory: int
    at_once: bool

    def shared(self, cells: list[nbformat.NotebookNode]) -> Executed:
        seconds = of_cells(self.wall, cells)
        return run_shared(self.place, _texts(cells), self.files, seconds, memory=self.memory)

    def split(self, plan: Plan, cells: list[nbformat.NotebookNode], steps: list[dict[str, Any]]) -> Executed:
        seconds = of_cells(self.wall, cells)
        return run_split(self.place, steps, plan, self.files, self.files, seconds, memory=self.memory)


def _first_that_holds(
    template: Template, reference: nbformat.NotebookNode, shared: dict[str, Any], run: _Run
) -> Plan:
    empty = _without_answers(template, reference)
    cells, cells_empty = list(filter(runs, reference.cells)), list(filter(runs, empty.cells))
    shared_empty: dict[str, Any] = {}
    decided: dict[str, tuple[str, str]] = {}
    at_least = AT_LEAST * run.place.stretch
    for _ in range(ROUNDS):
        plan = make_plan(template, reference, decided)
        if not plan.is_split:
            return plan
        for cell in plan.cells:
            cell.nothing = True  # until it has shown
        right = partial(run.split, plan, cells, steps_of(plan, reference, template.hidden))
        # A stub that answers with nothing is not what makes a test shared.
        steps = [{**step, "nothing": True} for step in steps_of(plan, empty, template.hidden)]
        others = [partial(run.split, plan, cells_empty, steps)]
        others += [] if shared_empty else [partial(run.shared, cells_empty)]
        # Most plans hold, so that all runs that this takes are begun at once.
        ran, *more = run.place.together(right, *others) if run.at_once else [right()]
        changes = _differences(plan, reference, shared, ran, at_least)
        if run.at_once and changes != _differences(plan, reference, shared, ran, math.inf):
            ran = right()  # alone: it may be slow beside others only
            changes = _differences(plan, reference, shared, ran, at_least)
        _learn_what_is_empty(plan, reference, ran)
        if not changes and not more:
            more = [other() for other in others]
        if more[1:]:
            shared_empty = verdicts_of(cells_empty, more[1])
        if not changes:
            why = "isolated, it gives other points to an empty answer"
            found = _differences(plan, empty, shared_empty, more[0], math.inf)
            changes = {name: ("shared", why) for name in found if name in plan.tests}
        if not changes:
            return plan
        decided |= changes
    tests = make_plan(template, reference).tests
    return make_plan(template, reference, dict.fromkeys(tests, ("shared", "no mode was found to be stable")))


def _learn_what_is_empty(plan: Plan, reference: nbformat.NotebookNode, ran: Executed) -> None:
    """Note which tests the reference answers with no elements: where it does not, nobody's answer has none."""
    met = {
        grade_id(cell)
        for cell, nothing in zip(filter(runs, reference.cells), ran.nothing, strict=True)
        if nothing
    }
    for cell in plan.cells:
        cell.nothing = not cell.id or cell.id in met


def _texts(cells: Iterable[nbformat.NotebookNode]) -> list[dict[str, str]]:
    return [{"source": cell.source, "cell_id": cell.id} for cell in cells]


def describe(name: str, plan: Plan, memory: int = 0) -> list[str]:
    """Return what an instructor should know of the modes of a notebook, a line each.

    `memory` is the limit of a worker in bytes where the instructor set one.
    """
    tests = plan.tests
    count = {
        where: sum(cell.where == where for cell in tests.values())
        for where in ("isolated", "copy-back", "shared")
    }
    told = [f"{count['isolated']} isolated"]
    told += [f"{count['copy-back']} isolated with copy-back"] if count["copy-back"] else []
    told += [f"{count['shared']} shared"] if count["shared"] else []
    lines = [f"{name}: of {len(tests)} tests {', '.join(told)}"]
    for cell in plan.cells:
        if cell.where == "shared":
            lines.append(f"{name}: {cell.id} shares the student's interpreter and can be forged: {cell.why}")
        elif cell.where == "claimed":
            lines.append(f"{name}: the cell {cell.id} runs in the student's interpreter: {cell.why}")
    lines += failures(name, plan)
    for test, told in plan.over.items():
        lines.append(
            f"{name}: {test} shows {told}: a person must give its points, to everybody. "
            "Let its last line return nothing, or at most its points"
        )
    if not memory and allowed_memory(plan) > MEMORY:
        used, allowed = plan.memory >> 20, allowed_memory(plan) >> 20
        lines.append(f"{name}: the reference uses {used} MiB of memory; a submission may use {allowed} MiB")
    return lines


def failures(name: str, plan: Plan) -> list[str]:
    """Return where the reference of a notebook fails, a line each."""
    lines = [f"{name}: the reference's cell {cell} fails: {why}" for cell, why in plan.raised.items()]
    end = "the reference fails it, and no student can do better"
    return lines + [
        f"{name}: {test} gives the reference itself {told}: {end}" for test, told in plan.lost.items()
    ]


def _without_answers(template: Template, reference: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook of a student who has answered nothing."""
    empty = copy.deepcopy(reference)
    stubs = {grade_id(cell): cell.source for cell in template.cells}
    for cell in empty.cells:
        if is_answer(cell):
            cell.source = stubs[grade_id(cell)]
    return empty


def _differences(
    plan: Plan, notebook: nbformat.NotebookNode, shared: dict[str, Any], ran: Executed, at_least: float
) -> dict[str, tuple[str, str]]:
    """Return what is to be decided otherwise: {id: (where, why)}; under `at_least` seconds nothing is slow."""
    cells = list(filter(runs, notebook.cells))
    verdicts = verdicts_of(cells, ran)
    where = {cell.id: cell for cell in plan.cells if cell.id}
    changes: dict[str, tuple[str, str]] = {}
    touched: set[str] = set()  # names of tests that differ; a later one may differ only for that
    for cell, outputs in zip(cells, ran.outputs, strict=True):
        planned = where.get(grade_id(cell))
        if planned is None or planned.where in ("student", "claimed"):
            continue
        (verdict, seconds), (expected, before) = verdicts[planned.id], shared[planned.id]
        slow = verdict == expected and seconds > max(at_least, SLOWER * before)
        if verdict == expected and (not slow or planned.where == "shared"):
            continue
        why = f"it takes {seconds:.1f} s instead of {before:.1f}" if slow else ""
        why = why or reason_of(outputs) or f"isolated, it gives the reference other points than {expected}"
        if not is_test(cell):
            if verdict == "failed":
                return {planned.id: ("claimed", why)}
            continue
        if touched & set(planned.needs):
            continue
        touched |= set(planned.binds)
        if planned.where != "shared":
            changes[planned.id] = ("shared" if slow else _NEXT[planned.where], why)
        elif not changes:
            changes |= _with_it(plan, planned)
    return changes


def _with_it(plan: Plan, shared: Cell) -> dict[str, tuple[str, str]]:
    """Return the cells that must run where this shared test runs: those whose names it needs, otherwise all tests."""
    found = {}
    for cell in plan.cells:
        if cell.id == shared.id:
            break
        if names := sorted(set(shared.needs) & set(cell.binds)):
            where = {"proxied": "claimed", "isolated": "shared", "copy-back": "shared"}.get(cell.where)
            if where:
                found[cell.id] = (
                    where,
                    f"{shared.id}, which shares it, does not work without its {names[0]}",
                )
    why = f"{shared.id} gives the reference other points where others are isolated"
    return found or {name: ("shared", why) for name, cell in plan.tests.items() if cell.where != "shared"}
