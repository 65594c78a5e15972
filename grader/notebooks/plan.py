"""What each cell of a plain notebook is and where it runs, read from the instructor's notebook.

    student     solution cells and free cells: in the student's interpreter
    both        the instructor's own cells: in each interpreter
    proxied     those of them that use the student's names: in the pristine one, with proxies
    claimed     those of them for which proxies do not do: in the student's
    isolated    a test, in the pristine one, with proxies
    copy-back   the same; arguments that the student's code changed are changed in the test too
    shared      a test that needs the student's interpreter: its points can be forged

A submission decides nothing of this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.notebooks.template import HIDDEN, Marks, grade_id, is_answer, without
from grader.whole_files import folder_alike, write_whole

if TYPE_CHECKING:
    from grader.lean import nbformat
    from grader.notebooks.template import Template

FORMAT = 5
TESTS = ("isolated", "copy-back", "shared")
COMPARE = "compare-in-student"  # a tag on a test cell of the source notebook


@dataclass
class Cell:
    """One code cell of the instructor's notebook."""

    id: str  # nbgrader's, empty for a free cell
    where: str  # see above
    why: str = ""  # a test is shared, or a cell claimed
    names: list[str] = field(default_factory=list)  # the student's from here on
    imports: str = ""  # statements of the text that students were given
    needs: list[str] = field(default_factory=list)  # names that it, or a helper that it calls, loads
    binds: list[str] = field(default_factory=list)
    # What it imports and defines in the text that students were given, [names, text], for their answers to use.
    offers: list[list[Any]] = field(default_factory=list)
    nothing: bool = False  # the reference, too, answers this test with an array or a list of no elements


@dataclass
class Plan:
    """Where every cell of one notebook runs."""

    key: str  # a hash of the notebook that it was made from
    cells: list[Cell]
    pushable: list[str] = field(default_factory=list)  # bound by tests and loaded by the reference
    open: list[str] = field(
        default_factory=list
    )  # bound by tests, in text and from values that students have
    classes: list[str] = field(default_factory=list)  # the instructor's own, which exist on both sides
    memory: int = (
        0  # bytes that the reference needed at its most; 0 where the usual limit is enough, or unknown
    )
    # Of tests that give the reference less than all points: how many, and why. Nobody else can do better.
    lost: dict[str, str] = field(default_factory=dict)
    # Of tests that show more than their points: how much. Of the reference too it then is for a person to say.
    over: dict[str, str] = field(default_factory=dict)
    # Of other cells of the reference that end with an error: which.
    raised: dict[str, str] = field(default_factory=dict)
    # Installed modules that the reference imports and a zygote may import, too; see `ahead.modules_of`.
    modules: list[str] = field(default_factory=list)

    @property
    def tests(self) -> dict[str, Cell]:
        return {cell.id: cell for cell in self.cells if cell.where in TESTS}

    @property
    def is_split(self) -> bool:
        """False where every test needs the student's interpreter, or there is none: one worker then does."""
        return any(cell.where != "shared" for cell in self.tests.values())

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        folder_alike(path.parent)
        write_whole(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path, key: str) -> Plan | None:
        """Return the plan at `path`, None where there is none for the notebook with this key."""
        if not path.is_file():
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        # Where the instructor's notebook is gone, what was decided from it holds for the same release.
        if data.pop("format", 0) != FORMAT or not data["key"].startswith(key):
            return None
        return cls(**{**data, "cells": [Cell(**cell) for cell in data["cells"]]})


def key_of(template: Template, reference: nbformat.NotebookNode | None) -> str:
    """Return a hash of the cells as released, with hidden tests, and one of the notebook as the instructor solved it.

    The first can be had from the gradebook alone, which knows neither free cells nor tags.
    """
    released = sorted((cell for cell in template.cells if grade_id(cell)), key=grade_id)
    solved = _hash(reference.cells, "tags") if reference else ""
    return f"{_hash(released)}:{solved}"


def _hash(cells: Iterable[nbformat.NotebookNode], *marks: str) -> str:
    digest = hashlib.sha256()
    for cell in cells:
        if cell.cell_type == "code":
            kept = [cell.metadata.get(mark) for mark in marks]
            roles = [is_answer(cell), is_test(cell)]
            digest.update(json.dumps([grade_id(cell), *roles, *kept, cell.source]).encode())
    return digest.hexdigest()


def runs(cell: nbformat.NotebookNode) -> bool:
    """Return whether a cell of a rebuilt notebook is executed, as nbclient decides it."""
    tagged = "skip-execution" in cell.metadata.get("tags", ())
    return cell.cell_type == "code" and bool(cell.source.strip()) and not tagged


def is_test(cell: nbformat.NotebookNode) -> bool:
    """Return whether points depend on the outputs of this cell."""
    return (
        cell.cell_type == "code"
        and bool(cell.metadata.get("nbgrader", {}).get("grade"))
        and not is_answer(cell)
    )


def make_plan(
    template: Template, reference: nbformat.NotebookNode, decided: dict[str, tuple[str, str]] | None = None
) -> Plan:
    """Return the plan that follows from the text of the notebook alone, but for what is `decided`.

    `reference` is the template with the instructor's answers, as `rebuild` makes it. `decided` is {id: (where,
    why)} for instructor's cells and tests that have shown that they cannot run as their text suggests.
    """
    from grader.notebooks.names import Names, definitions, names_of
    from grader.notebooks.told import Told

    decided = decided or {}
    stubs = {grade_id(cell): cell.source for cell in template.cells if grade_id(cell)}
    plan = Plan(key_of(template, reference), [])
    students: set[str] = set()  # names that are the student's where the cell stands
    claimed: dict[str, str] = {}  # names that an instructor's cell binds in the student's interpreter
    helpers: dict[str, Names] = {}  # the pristine cell that binds a name
    bound_by_tests: set[str] = set()
    loaded_there: set[str] = set()
    classes: set[str] = set()
    told = Told(template.hidden)
    for source in filter(runs, reference.cells):
        identity, names = grade_id(source), names_of(source.source)
        cell = Cell(identity, "student", binds=sorted(names.binds))
        plan.cells.append(cell)
        if not identity or is_answer(source):
            given = names_of(stubs.get(identity, source.source))
            cell.imports = given.imports
            cell.names = sorted(names.binds - given.imported)
        else:
            needs = _closure(names.loads, helpers)
            cell.needs = sorted(needs)
            test = is_test(source)
            cell.where, cell.why = decided.get(identity, ("", ""))
            if not cell.where and test:
                cell.where, cell.why = _where_a_test_runs(names, needs & claimed.keys(), claimed)
            elif not cell.where:
                cell.where = "proxied" if _closure(names.at_once, helpers) & students else "both"
            if cell.where == "claimed":
                cell.names = sorted(names.binds)
                claimed |= dict.fromkeys(names.binds, identity)
        if cell.where in ("student", "claimed", "shared", "both"):
            loaded_there |= names.loads
        if cell.where in ("student", "claimed"):
            students.update(cell.names)
        else:
            students -= names.binds
            helpers |= dict.fromkeys(names.binds, names)
            classes |= names.classes if cell.where == "both" else set()
            given = told.look(source.source, names, partial(_closure, helpers=helpers))
            if cell.where not in ("both", "shared"):
                # What is imported is no value to be told: answers import it too, or are offered the statement.
                bound_by_tests |= (names.binds - names.imported) | names.changes
                cell.offers = [[bound, text] for bound, text in definitions(given.text)]
    plan.pushable = sorted(bound_by_tests & loaded_there)
    plan.open = sorted(told.names - set(plan.pushable))
    for cell in plan.cells:
        cell.offers = [[bound, text] for bound, text in cell.offers if not {*bound} & {*plan.pushable}]
    plan.classes = sorted(classes)
    return plan


def _closure(names: Iterable[str], helpers: dict[str, Any]) -> set[str]:
    """Return the names and all that the pristine cells which bind them load in turn."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= (helpers[name].loads if name in helpers else set()) - found
    return found


def _where_a_test_runs(names: Any, tainted: set[str], claimed: dict[str, str]) -> tuple[str, str]:
    if names.inspects:
        return (
            "shared",
            f"{names.inspects} sees only its own interpreter; call the student's functions by name",
        )
    if tainted:
        name = sorted(tainted)[0]
        return (
            "shared",
            f"{name} is computed by the cell {claimed[name]}, which needs the student's interpreter",
        )
    return "isolated", ""


SHARED = "its tests share the student's interpreter: these points can be forged"


def isolation_notes(notebook: nbformat.NotebookNode, plan: Plan | None) -> list[str]:
    """Return how many points of a graded notebook no student's code can forge, and mark each test with its mode."""
    points = {"isolated": 0.0, "shared": 0.0}
    shared = []
    for cell in filter(is_test, notebook.cells):
        test = plan.tests.get(grade_id(cell)) if plan and plan.is_split else None
        where = test.where if test else "shared"
        cell.metadata["grader"] = {"where": where}
        if COMPARE in cell.metadata.get("tags", ()):
            where = "shared"
        points["shared" if where == "shared" else "isolated"] += cell.metadata.nbgrader.get("points", 0)
        shared += [grade_id(cell)] if where == "shared" else []
    lost = plan.lost if plan else {}
    unfair = [f"{name}: the reference itself earns {told}; settle it by hand" for name, told in lost.items()]
    if not points["isolated"]:
        return [*unfair, *([SHARED] if shared else [])]
    told = f"{points['isolated']:g} of {sum(points.values()):g} points isolated"
    if shared:
        told += (
            f"; {', '.join(shared)}: the student's interpreter has a say there, these points can be forged"
        )
    return [*unfair, told]


def steps_of(plan: Plan, notebook: nbformat.NotebookNode, hidden: Marks = HIDDEN) -> list[dict[str, Any]]:
    """Return what the workers are to do for the cells of a rebuilt submission that run, in order.

    Free cells of the submission run in the student's interpreter and give no name to the tests; the names that
    tests know are those of the instructor's notebook. What stands between the marks `hidden` stays out of the
    student's interpreter.
    """
    from grader.notebooks.told import names_in

    known = {cell.id: position for position, cell in enumerate(plan.cells) if cell.id}
    steps, position = [], 0
    for source in filter(runs, notebook.cells):
        step = {"source": source.source, "cell_id": source.id, "where": "student"}
        steps.append(
            {**step, "names": [], "imports": [], "needs": [], "binds": [], "compare": False, "nothing": True}
        )
        steps[-1] |= {"offers": [], "open": []}
        place = known.get(grade_id(source))
        if place is None:
            continue
        passed, cell = plan.cells[position : place + 1], plan.cells[place]
        position = place + 1
        steps[-1] |= {
            "where": cell.where,
            "released": without(source.source, hidden),
            "names": [name for one in passed for name in one.names],
            "imports": [line for one in passed for line in one.imports.splitlines()],
            "needs": cell.needs,
            "binds": cell.binds,
            "offers": cell.offers,
            "open": sorted({*plan.open} & {*cell.binds}),
            "compare": COMPARE in source.metadata.get("tags", ()),
            "nothing": cell.nothing or not is_test(source),
        }
    # Only what an answer can be after: it is a matter of time, and nothing here is a secret.
    words = set().union(*(names_in(step["source"]) for step in steps if step["where"] == "student"))
    offers = [offer for step in steps for offer in step["offers"]]
    while more := {word for bound, text in offers if words & {*bound} for word in names_in(text)} - words:
        words |= more
    for step in steps:
        step["offers"] = [text for bound, text in step["offers"] if not bound or words.intersection(bound)]
        step["open"] = [name for name in step["open"] if name in words]
    return steps
