"""Which module may import which: folders of `grader` are levels of trust, and nothing anywhere goes in a circle.

Late imports count, and those for type checkers only: what two modules need of each other belongs into a third.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.notebooks import PROGRAMS

ROOT = Path(__file__).parents[2]
# From what a person does down to values, text and files. What stands in no folder and is not named is `base`.
ROOMS = [
    "cli",
    "checks",
    "student",
    "steps",
    "runners",
    "pages",
    "book",
    "notebooks",
    "examine",
    "sandbox",
    "safe",
    "base",
]
WORKERS_MAY = {f"grader.sandbox.{name}" for name in ("wire", "network", "standstill", "preload")}
STANDARD_ONLY = {
    "build",
    "calls",
    "cgroup",
    "devices",
    "gpu",
    "lease",
    "network",
    "packed",
    "preload",
    "procfs",
    "root",
    "seccomp",
    "standstill",
    "users",
    "wire",
    "zygote",
}


def modules() -> dict[str, Path]:
    found = {}
    for path in [*ROOT.glob("grader/**/*.py"), *ROOT.glob("effdl/**/*.py"), *ROOT.glob("week*/**/*.py")]:
        relative = path.relative_to(ROOT)
        if not {"tests", "checks"} & set(relative.parts):
            found[".".join(relative.with_suffix("").parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[tuple[str, int]]:
    """Yield what a module of ours imports from ours, with the line."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        wanted = []
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            wanted = [
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in MODULES else node.module
                for alias in node.names
            ]
        for one in wanted:
            if one in MODULES:
                yield one, node.lineno


def room(name: str) -> str:
    inside = name.split(".")[1] if "." in name else ""
    return inside if inside in ROOMS else "base"


def place(name: str, line: int) -> str:
    return f"{MODULES[name].relative_to(ROOT)}, line {line}"


def test_an_import_that_goes_up_the_rooms_is_found():
    wrong = [
        f"{place(name, line)}: {room(name)} imports {other}, which is above it"
        for name in MODULES
        if name.startswith("grader.") and name.split(".")[1] not in ("bench", "demo", "__main__")
        for other, line in imports(name)
        if other.startswith("grader") and ROOMS.index(room(other)) < ROOMS.index(room(name))
    ]
    assert wrong == []


def test_effdl_and_the_weeks_know_nothing_of_the_grader():
    wrong = [
        f"{place(name, line)}: imports {other}"
        for name in MODULES
        if not name.startswith("grader")
        for other, line in imports(name)
        if other.startswith("grader")
    ]
    assert wrong == []


def test_no_week_imports_another_one():
    wrong = [
        f"{place(name, line)}: imports {other}; what two weeks need belongs into effdl"
        for name in MODULES
        if name.startswith("week")
        for other, line in imports(name)
        if other.startswith("week") and other.split(".")[0] != name.split(".")[0]
    ]
    assert wrong == []


def test_no_imports_go_in_a_circle():
    below = {name: {other for other, _ in imports(name)} for name in MODULES}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        assert name not in path, " imports ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(below[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in below:
        visit(name, [])


def test_the_worker_imports_nothing_that_knows_a_course():
    assert {other for other, _ in imports("grader.sandbox.worker")} <= WORKERS_MAY


@pytest.mark.parametrize("target", PROGRAMS.values())
def test_a_program_of_the_workers_reaches_no_room_that_knows_a_course(target):
    reached, new = set(), [target.partition(":")[0]]
    while new:
        name = new.pop()
        reached.add(name)
        new += {other for other, _ in imports(name)} - reached
    own = "grader.notebooks.twin", "grader.notebooks.cells", "grader.examine.suite.inside", "grader.sandbox"
    assert [name for name in sorted(reached) if not name.startswith(own) and room(name) != "base"] == []


@pytest.mark.parametrize("module", sorted(STANDARD_ONLY))
def test_the_sandbox_needs_the_standard_library_only(module):
    tree = ast.parse((ROOT / "grader" / "sandbox" / f"{module}.py").read_text(encoding="utf-8"))
    found = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert found <= {*sys.stdlib_module_names, "grader"} | ({"numpy"} if module == "wire" else set())


def test_no_module_of_ours_is_longer_than_400_lines_without_a_reason():
    """A module that must be longer says why in its docstring, with the words `longer than 400 lines`."""
    long = []
    for path in MODULES.values():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 400 and "longer than 400 lines" not in (
            ast.get_docstring(ast.parse(text)) or ""
        ):
            long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
    assert long == []


def test_no_module_reaches_for_a_name_that_another_keeps_to_itself():
    wrong = []
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        ours = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if f"{node.module}.{alias.name}" in MODULES
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "") in MODULES:
                wrong += [
                    f"{place(name, node.lineno)}: {alias.name} of {node.module}"
                    for alias in node.names
                    if alias.name.startswith("_") and not alias.name.startswith("__")
                ]
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ours
                and node.attr.startswith("_")
                and not node.attr.startswith("__")
            ):
                wrong.append(f"{place(name, node.lineno)}: {node.value.id}.{node.attr}")
    assert wrong == []
