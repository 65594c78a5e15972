"""Decides where each cell of a plain notebook runs, by running the instructor's own answers both ways.

This happens when an assignment is released, or before its first submission is graded where it was released by
`nbgrader generate_assignment`. While a student's work runs nothing is decided any more: there, what cannot cross
is a failure of that cell.
"""

from __future__ import annotations

import ast
import copy
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from grader.examine.place import Place
from grader.lean import nbformat
from grader.notebooks.plan import Plan, is_test, key_of, make_plan, runs, steps_of
from grader.notebooks.rebuild import Template, grade_id, is_answer, rebuild
from grader.notebooks.run import Executed, Prepared, run_shared, run_split
from grader.sandbox.build import SandboxError
from grader.sandbox.packed import Packed

ROUNDS = 12  # runs of the reference until the modes must stand; each takes as long as one submission
# A test that isolation makes that many times slower, and this many seconds (times `Place.stretch`), is shared.
SLOWER, AT_LEAST = 5.0, 2.0
_SLOW = ("matplotlib", "pandas", "scipy", "sklearn", "sympy")  # none starts a thread when it is imported
_NEXT = {"isolated": "copy-back", "copy-back": "shared"}


def prepare(
    template: Template,
    folder: Path,
    modes: Path,
    ignored: Iterable[str],
    place: Callable[[], Place],
    wall: float,
    say: Callable[[str], None] = print,
) -> Prepared | None:
    """Return the plan of one notebook, decided now where it never was or the notebook has changed since.

    `folder` is the assignment's source, of which the names that match `ignored` are no part. The plan is kept in
    the folder `modes`. `place` gives the workers, where they are needed. None where the instructor's notebook is
    gone: its tests then share the student's interpreter. Raises SandboxError where no worker can be started.
    """
    source = folder / f"{template.name}.ipynb"
    path = modes / f"{template.name}.json"
    reference = rebuild(template, source)[0] if source.is_file() else None
    plan = Plan.load(path, key_of(template, reference))
    if plan is None and reference is None:
        return None
    files = course_files(folder, ignored)
    if plan is None:
        say(
            f"{template.name}: running the reference to see which tests can be isolated from the student's code"
        )
        plan = _decide_undisturbed(template, reference, place(), files, wall)
        plan.save(path)
        for line in describe(template.name, plan):
            say(line)
    if slow := libraries(plan):
        place().zygote.preload(slow)
    return Prepared(plan, files)


def libraries(plan: Plan) -> list[str]:
    """Return the modules of a plan's imports that are slow to import and safe to have in every worker."""
    found: dict[str, None] = {}
    for line in "\n".join(cell.imports for cell in plan.cells).splitlines():
        for node in ast.walk(ast.parse(line)):
            if isinstance(node, ast.Import):
                found |= dict.fromkeys(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module] = None
    return [module for module in found if module.partition(".")[0] in _SLOW]


def _decide_undisturbed(
    template: Template, reference: nbformat.NotebookNode, place: Place, files: Packed, wall: float
) -> Plan:
    # What a killed worker did not answer says nothing of the notebook, and a plan is kept.
    plan, _, undisturbed = place.undisturbed(lambda: decide(template, reference, place, files, wall), 5)
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
    template: Template, reference: nbformat.NotebookNode, place: Place, files: Packed, wall: float
) -> Plan:
    """Return the plan under which every test gives the reference, and empty answers, what a shared run gives.

    `wall` is the limit per cell in seconds.
    """
    empty = _without_answers(template, reference)
    shared, shared_empty = (_run_shared(notebook, place, files, wall) for notebook in (reference, empty))
    decided: dict[str, tuple[str, str]] = {}
    for _ in range(ROUNDS):
        plan = make_plan(template, reference, decided)
        if not plan.is_split:
            return plan
        ran = run_split(place, steps_of(plan, reference), plan, files, files, wall)
        changes = _differences(plan, reference, shared, ran, AT_LEAST * place.stretch)
        if not changes:
            ran = run_split(place, steps_of(plan, empty), plan, files, files, wall)
            why = "isolated, it gives other points to an empty answer"
            found = _differences(plan, empty, shared_empty, ran, AT_LEAST * place.stretch)
            changes = {name: ("shared", why) for name in found if name in plan.tests}
        if not changes:
            return plan
        decided |= changes
    tests = make_plan(template, reference).tests
    return make_plan(template, reference, dict.fromkeys(tests, ("shared", "no mode was found to be stable")))


def describe(name: str, plan: Plan) -> list[str]:
    """Return what an instructor should know of the modes of a notebook, a line each."""
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
    return lines


def _without_answers(template: Template, reference: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook of a student who has answered nothing."""
    empty = copy.deepcopy(reference)
    stubs = {grade_id(cell): cell.source for cell in template.cells}
    for cell in empty.cells:
        if is_answer(cell):
            cell.source = stubs[grade_id(cell)]
    return empty


def _run_shared(notebook: nbformat.NotebookNode, place: Place, files: Packed, wall: float) -> dict[str, Any]:
    """Return {id: (verdict, seconds)} of a run in one interpreter."""
    cells = list(filter(runs, notebook.cells))
    ran = run_shared(place, [{"source": cell.source, "cell_id": cell.id} for cell in cells], files, wall)
    return verdicts_of(cells, ran)


def verdicts_of(cells: list[nbformat.NotebookNode], ran: Executed) -> dict[str, Any]:
    """Return {id: (verdict, seconds)} of the cells that have an id; see `verdict_of`."""
    found = zip(cells, ran.outputs, ran.seconds, strict=True)
    return {
        grade_id(cell): (verdict_of(outputs), seconds) for cell, outputs, seconds in found if grade_id(cell)
    }


def verdict_of(outputs: list[dict[str, Any]]) -> str:
    """Return what nbgrader makes of a test cell: `failed`, `passed`, or the number of points it shows."""
    for output in outputs:
        kind = output.get("output_type")
        if kind == "error" or (kind == "stream" and output.get("name") == "stderr"):
            return "failed"
        if kind == "execute_result":
            try:
                return str(float(output["data"]["text/plain"]))
            except (ValueError, KeyError, TypeError):
                return "passed"
    return "passed"


def _differences(
    plan: Plan, notebook: nbformat.NotebookNode, shared: dict[str, Any], ran: Executed, at_least: float
) -> dict[str, tuple[str, str]]:
    """Return what is to be decided otherwise: {id: (where, why)}; under `at_least` seconds nothing is slow."""
    cells = list(filter(runs, notebook.cells))
    verdicts = verdicts_of(cells, ran)
    where = {cell.id: cell for cell in plan.cells}
    changes: dict[str, tuple[str, str]] = {}
    touched: set[str] = set()  # names of tests that differ; a later one may differ only for that
    for cell, outputs in zip(cells, ran.outputs, strict=True):
        planned = where.get(grade_id(cell))
        if planned is None or planned.where in ("student", "claimed", "shared"):
            continue
        (verdict, seconds), (expected, before) = verdicts[planned.id], shared[planned.id]
        slow = verdict == expected and seconds > max(at_least, SLOWER * before)
        if verdict == expected and not slow:
            continue
        why = f"it takes {seconds:.1f} s instead of {before:.1f}" if slow else _reason(outputs, expected)
        if not is_test(cell):
            if verdict == "failed":
                return {planned.id: ("claimed", why)}
            continue
        if not touched & set(planned.needs):
            changes[planned.id] = ("shared" if slow else _NEXT[planned.where], why)
        touched |= set(planned.binds)
    return changes


def _reason(outputs: list[dict[str, Any]], expected: str) -> str:
    for output in outputs:
        if output.get("output_type") == "error":
            text = f"{output['ename']}: {output['evalue']}".removeprefix("CannotCross: ")
            return " ".join(text.split())[:300]
    return f"isolated, it gives the reference other points than {expected}"
