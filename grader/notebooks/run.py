"""The examiner's side of a notebook: its workers, their limits, and the outputs that come back."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.examine.checks import StudentError
from grader.examine.job import Job
from grader.examine.place import Place
from grader.notebooks import limits
from grader.notebooks.plan import Plan, runs, steps_of
from grader.notebooks.template import HIDDEN, Marks
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed

if TYPE_CHECKING:
    from grader.lean import nbformat
    from grader.notebooks.limits import Seconds

MEMORY = 2048 << 20  # bytes, of each worker, where the reference needs no more and nobody says otherwise
TERMINALS = 16  # of each worker, at one time: a line `!ls` takes one
# Characters of what all cells of a notebook show; of the rest only what carries points is kept.
MAX_SHOWN = 64 << 20
TO_STOP = 5.0  # seconds that a cell may take to end after it was interrupted

_SHORT = 1000  # characters

# All limits on time grow with `Place.stretch` where the machine is slow.


@dataclass
class Prepared:
    """What grading a plain notebook needs besides the submission."""

    plan: Plan | None  # None where nothing is known of the reference: one worker then runs all cells
    files: Packed  # the course's own, for the pristine worker
    memory: int = MEMORY  # bytes, of each worker
    hidden: Marks = HIDDEN  # between which hidden tests stand

    @property
    def modules(self) -> list[str]:
        """What the zygote imports for these workers."""
        return self.plan.modules if self.plan else []


@dataclass
class Executed:
    """What came back from the cells of a notebook, in order."""

    outputs: list[list[dict[str, Any]]]  # nbformat's, of known form and of unknown truth
    notes: list[str] = field(default_factory=list)  # for the instructor
    seconds: list[float] = field(default_factory=list)
    nothing: list[bool] = field(default_factory=list)  # whether a test was answered with no elements
    modules: list[list[str]] = field(
        default_factory=list
    )  # that each cell imported, where that was asked for


def run_shared(
    place: Place,
    cells: list[dict[str, str]],
    files: Packed,
    seconds: float | list[float],
    wall: float | None = None,
    memory: int = MEMORY,
    report: bool = False,
) -> Executed:
    """Execute `cells` ({"source", "cell_id"}) in one worker that has the student's files.

    `seconds` limit each cell, or all cells alike, and `wall` the whole, by default as `limits.of_all` says. With
    `report`, the worker says which modules each cell imported: it must run nothing but the instructor's code.
    """
    cells, walls, end = _timed(place, cells, seconds, wall)
    job = Job(place, files, 1, Limits(memory=memory, terminals=TERMINALS))
    try:
        job.send(0, {"program": "notebook", "cells": cells, "report": report}, end)
        ran = _collect(job, walls, TO_STOP * place.stretch, end, memory, report)
    finally:
        place.close_later(job)
    ran.notes = files.notes + ran.notes
    return ran


def run_split(
    place: Place,
    steps: list[dict[str, Any]],
    plan: Plan,
    files: Packed,
    course_files: Packed,
    seconds: float | list[float],
    wall: float | None = None,
    memory: int = MEMORY,
) -> Executed:
    """Execute the steps of `grader.notebooks.plan.steps_of` in two workers.

    The student's has `files`; the pristine one has `course_files`, holds the other end of the student's socket,
    and is the only one that the examiner talks to. Each has its own limits, and this process ends both.
    `seconds` and `wall` are those of `run_shared`.
    """
    steps, walls, end = _timed(place, steps, seconds, wall)
    jobs = [Job(place, files, 1, Limits(memory=memory, terminals=TERMINALS))]
    try:
        jobs.append(Job(place, course_files, 1, Limits(memory=memory, terminals=TERMINALS)))
        student, pristine = jobs
        student.send(0, {"program": "notebook", "classes": plan.classes}, end)
        order = {"pushable": plan.pushable, "classes": plan.classes, "stretch": place.stretch}
        pristine.send(0, {"program": "notebook", "steps": steps, **order}, end)
        student.hand_over(0, pristine, to=0)
        # A cell that runs there and then here may take its time twice, and both may have to be interrupted.
        ran = _collect(pristine, [2 * wall for wall in walls], TO_STOP * place.stretch, end, memory)
        if student.out_of_memory():
            ran.notes.append(f"the student's cells used more than {memory >> 20} MiB of memory")
    finally:
        place.close_later(*jobs)
    ran.notes = files.notes + ran.notes
    return ran


def run_notebook(
    place: Place,
    notebook: nbformat.NotebookNode,
    folder: Path | Packed,
    wall: Seconds,
    prepared: Prepared | None,
) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """Execute a rebuilt submission beside the files in `folder`, split where it is `prepared` for that.

    Returns the outputs of the cells that run, in order, and notes for the instructor.
    """
    files = folder if isinstance(folder, Packed) else Packed(folder)
    try:
        memory = prepared.memory if prepared else MEMORY
        cells = list(filter(runs, notebook.cells))
        seconds = limits.of_cells(wall, cells)
        if prepared:
            place.zygote.preload(prepared.modules)
        if prepared and prepared.plan and prepared.plan.is_split:
            plan = prepared.plan
            steps = steps_of(plan, notebook, prepared.hidden)
            ran = run_split(place, steps, plan, files, prepared.files, seconds, memory=memory)
        else:
            texts = [{"source": cell.source, "cell_id": cell.id} for cell in cells]
            ran = run_shared(place, texts, files, seconds, memory=memory)
    finally:
        if files is not folder:
            files.close()
    return ran.outputs, ran.notes


def no_files() -> Packed:
    """Return the files of a worker that gets none."""
    return Packed(Path(os.devnull))


def _timed(
    place: Place, cells: list[dict[str, Any]], seconds: float | list[float], wall: float | None
) -> tuple[list[dict[str, Any]], list[float], float]:
    """Return the cells with their limits on this machine, these, and the perf_counter() at which all must end."""
    each = seconds if isinstance(seconds, list) else [seconds] * len(cells)
    end = time.perf_counter() + (limits.of_all(each) if wall is None else wall) * place.stretch
    walls = [limit * place.stretch for limit in each]
    return [{**cell, "wall": limit} for cell, limit in zip(cells, walls, strict=True)], walls, end


def _collect(
    job: Job, walls: list[float], to_stop: float, end: float, memory: int, report: bool = False
) -> Executed:
    """Take the outputs of cells from rank 0 of a job, as they come, until perf_counter() is `end`.

    The cells may take `walls` seconds, in their order. A cell that the worker did not live to answer gets an error
    output that says why. Only from a worker that runs the instructor's code alone may a `report` be taken.
    """
    count = len(walls)
    outputs: list[list[dict[str, Any]] | None] = [None] * count
    seconds, nothing, room = [0.0] * count, [False] * count, MAX_SHOWN
    modules: list[list[str]] = [[] for _ in range(count)]
    why = "the notebook did not finish in time"
    try:
        for wall in walls:
            # The worker interrupts a cell at its limit; one that swallows the interrupt is killed here.
            limit = min(end, time.perf_counter() + wall + to_stop)
            if not job.wait(lambda: bool(job.inbox[0] or job.closed[0]), limit):
                if limit < end:
                    why = f"a cell ran longer than {wall:g} s and did not stop when interrupted"
                break
            if not job.inbox[0]:
                why = f"the notebook {job.closed[0]}"
                if job.out_of_memory():
                    why = f"the notebook used more than {memory >> 20} MiB of memory"
                break
            message = job.inbox[0].pop(0)
            if not _is_cell(message, outputs):
                break
            room -= _size(message["outputs"], room)
            outputs[message["index"]] = message["outputs"] if room >= 0 else _shortened(message["outputs"])
            seconds[message["index"]] = float(message["seconds"])
            nothing[message["index"]] = message.get("nothing") is True
            if report:
                modules[message["index"]] = list(map(str, message["modules"]))
    except StudentError as error:
        why = error.why
    notes = [why] if None in outputs else []
    dead = {"output_type": "error", "ename": "GraderError", "evalue": why, "traceback": [why]}
    return Executed(
        [[dead] if found is None else found for found in outputs], notes, seconds, nothing, modules
    )


def _size(outputs: list[dict[str, Any]], room: int) -> int:
    """Return how many characters outputs have: too many where they are no text."""
    if room < 0:
        return 0
    try:
        return len(json.dumps(outputs))
    except (TypeError, ValueError):  # bytes and tensors, which are no text
        return room + 1


def _shortened(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first output of each kind that nbgrader reads points from, and the beginning of its text."""

    def short(value: Any) -> str:
        return value[:_SHORT] if isinstance(value, str) else ""

    kept: dict[Any, dict[str, Any]] = {}
    for output in outputs:
        kind = output.get("output_type")
        if kind == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            new = {"name": name, "text": short(output.get("text"))}
        elif kind == "error":
            new = {
                "ename": short(output.get("ename")),
                "evalue": short(output.get("evalue")),
                "traceback": [],
            }
        elif kind == "execute_result" and isinstance(data := output.get("data"), dict):
            new = {"data": {"text/plain": short(data.get("text/plain"))}, "metadata": {}}
        else:
            continue
        kept.setdefault((kind, new.get("name")), {"output_type": kind, **new})
    cut = {"output_type": "stream", "name": "stdout", "text": "... output truncated ...\n"}
    return [*kept.values(), cut]


def _is_cell(message: Any, outputs: list[Any]) -> bool:
    return (
        isinstance(message, dict)
        and type(message.get("index")) is int
        and 0 <= message["index"] < len(outputs)
        and outputs[message["index"]] is None
        and isinstance(message.get("outputs"), list)
        and all(isinstance(output, dict) for output in message["outputs"])
        and type(message.get("seconds")) is float
    )
