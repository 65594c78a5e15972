"""What runs in the workers of a notebook: all cells in one, or the tests in a pristine one that asks the other."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from grader.notebooks.cells import Notebook, Output, run_cells, warm_up
from grader.notebooks.twin.nothing import Nothing
from grader.notebooks.twin.peer import CannotCross
from grader.notebooks.twin.pristine import Pristine
from grader.notebooks.twin.student import Student
from grader.sandbox import preload, wire

__all__ = ["serve", "warm_up"]

NAME = "CannotCross"  # of the error output of a cell that asked for what it cannot have
NOTHING = (
    "an array or a list without elements came back, where the reference has some; it agrees with everything"
)


def serve(examiner: socket.socket, order: dict[str, Any], submission: str) -> None:
    """Do what `order` says, in a copy of the folder `submission`: the program that the zygote knows as `notebook`."""

    def emit(message: dict[str, Any]) -> None:
        examiner.sendall(wire.encode(message))

    # Notebooks read and write files beside them; those of the submission themselves are read-only.
    folder = os.path.abspath("notebook")
    shutil.copytree(submission, folder, copy_function=shutil.copyfile)
    os.chdir(folder)
    sys.path[0] = folder
    preload.give_way(folder)
    if "steps" in order:
        run_pristine(examiner, order, emit)
    elif "cells" in order:
        run_cells(order["cells"], emit, order["report"])
    else:
        serve_student(examiner, order)


def serve_student(examiner: socket.socket, order: dict[str, Any]) -> None:
    """Run the student's cells and answer the tests; `examiner` is the socket that the pristine worker holds."""
    with Notebook() as notebook:
        student = Student(examiner, notebook.names, order["classes"])
        student.start, student.heard = notebook.outputs.start, notebook.heard
        student.within = notebook.loop.call
        student.run_cell = lambda message: _run_here(notebook, message)
        notebook.listen()
        student.serve()


def _run_here(notebook: Notebook, cell: dict[str, Any]) -> list[Output]:
    outputs = notebook.run(cell["source"], cell["cell_id"], cell["limit"])
    notebook.outputs.start()  # they are the answer; no call has printed them
    return outputs


def run_pristine(
    examiner: socket.socket, order: dict[str, Any], emit: Callable[[dict[str, Any]], None]
) -> None:
    """Run the notebook that `grader.notebooks.plan.steps_of` describes, the tests in this interpreter.

    The socket to the student's worker comes with the byte after the order. `emit` is called after each cell as
    by `grader.notebooks.cells.run_cells`.
    """
    _, (descriptor,), _, _ = socket.recv_fds(examiner, 1, 1)
    with socket.socket(fileno=descriptor) as sock, Notebook() as notebook:
        peer = Pristine(sock, notebook.names, order["classes"])
        peer.news.pushable, peer.stretch = set(order["pushable"]), order["stretch"]
        peer.show = lambda kind, data: notebook.outputs.rich(kind, data, {})
        for index, step in enumerate(order["steps"]):
            started = time.monotonic()
            outputs = _run_step(notebook, peer, step, step["wall"])
            message = {"index": index, "seconds": time.monotonic() - started, "nothing": peer.nothing.met}
            try:
                emit({**message, "outputs": outputs})
            except wire.WireError as error:  # outputs that the student's side made up
                emit({**message, "outputs": [_error(f"the outputs of this cell cannot be kept: {error}")]})


def _run_step(notebook: Notebook, peer: Pristine, step: dict[str, Any], wall: float) -> list[Output]:
    for line in step["imports"]:
        # One that fails here fails in the student's interpreter too, where it is seen.
        with contextlib.suppress(Exception):
            exec(line, notebook.names)
    notebook.heard()  # and drop what the imports printed
    peer.refusals.clear()
    peer.nothing = Nothing()
    peer.deadline = time.monotonic() + wall
    cell = {"source": step["source"], "cell_id": step["cell_id"]}
    try:
        if step["where"] in ("student", "claimed", "shared"):
            outputs = peer.run_there(cell, wall)
            peer.news.give(step["names"])
            return outputs
        peer.news.give(step["names"])
        if step["where"] == "both":
            return _run_in_both(notebook, peer, step, wall)
        peer.pull(step["needs"])
        return _run_test(notebook, peer, step, wall)
    except CannotCross as error:
        peer.news.give(step["names"])
        return [_error(str(error))]
    finally:
        peer.news.student_names.difference_update(set(step["binds"]) - set(step["names"]))


def _run_in_both(notebook: Notebook, peer: Pristine, step: dict[str, Any], wall: float) -> list[Output]:
    with contextlib.suppress(CannotCross):
        peer.begin({"source": step["released"], "cell_id": step["cell_id"]}, wall)
    outputs = notebook.run(step["source"], step["cell_id"], wall)
    with contextlib.suppress(CannotCross):
        peer.finish()
    peer.news.know(step["binds"])
    return outputs


def _run_test(notebook: Notebook, peer: Pristine, step: dict[str, Any], wall: float) -> list[Output]:
    peer.copy_back, peer.compare = step["where"] == "copy-back", step["compare"]
    peer.news.offers += step["offers"]
    peer.news.open.update(step["open"])
    outputs = notebook.run(step["source"], step["cell_id"], wall)
    failed = any(output["output_type"] == "error" for output in outputs)
    if not failed and peer.refusals:
        # A test that catches everything does not make what it could not ask a success.
        return [*outputs, _error(peer.refusals[0])]
    if not failed and peer.nothing.met and not step["nothing"]:
        # np.allclose and all() agree with nothing at all, whatever it should have been.
        return [*outputs, _error(NOTHING, "NoElements")]
    return outputs


def _error(why: str, name: str = NAME) -> Output:
    return {"output_type": "error", "ename": name, "evalue": why, "traceback": [f"{name}: {why}"]}
