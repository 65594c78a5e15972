"""From what an author writes to what nbgrader reads: notebooks out of Markdown, stubs out of solutions.

In the Markdown, ` ```python check="ring" ` opens the check cell of the item `ring`, and
`<!-- #region report="analysis" -->` ... `<!-- #endregion -->` holds the model answer of a report that a
person grades. Points live in course.toml; `points=` beside them is optional and must agree.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.course import Assignment, CourseError, Part

if TYPE_CHECKING:
    from nbformat import NotebookNode

SCHEMA_VERSION = 3  # of nbgrader's cell metadata
_BEGIN = re.compile(r"^\s*#+\s*BEGIN SOLUTION\b")
_END = re.compile(r"^\s*#+\s*END SOLUTION\b")
_GIVEN = re.compile(r"^\s*#+\s*GIVEN\b")
_GRADE_ID = re.compile(r"[A-Za-z0-9_-]+")
NO_ANSWER = "*Write your answer here.*"
"""What stands in a released notebook where a student is to write."""
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


# --- modules: solutions and stubs -------------------------------------------------------------------------


def not_implemented(function: str) -> str:
    """Return the line that stands in a stub in place of a solution."""
    return f'raise NotImplementedError("not implemented yet: {function}")'


def strip_solutions(
    text: str, name: str = "<module>", instead: Callable[[str], str] = not_implemented
) -> str:
    """Return the module `text` as a student gets it, every `### BEGIN SOLUTION` region taken out.

    Inside a function a region becomes the line `instead(qualified name)`; at class or module level it leaves
    nothing. What stands in a region after a line `### GIVEN`, behind `# `, is what students get in its place: code
    with a bug that they are to find. Text without regions is returned unchanged. Raises CourseError, naming the file
    `name`, where markers do not pair up or the stub would not compile.
    """
    regions = solution_regions(text, name)
    if not regions:
        return text
    lines = text.split("\n")
    functions = _functions(text, name)
    kept, position = [], 0
    for begin, end in regions:
        kept += lines[position:begin]
        given = _given(lines, begin, end)
        if given < end and instead is not_implemented:
            kept += [re.sub(r"^(\s*)# ?", r"\1", line) for line in lines[given + 1 : end]]
        elif owner := _innermost(functions, begin + 1):
            indent = re.match(r"\s*", lines[begin]).group(0)
            kept.append(f"{indent}{instead(owner)}")
        position = end + 1
    stub = "\n".join(kept + lines[position:])
    try:
        compile(stub, name, "exec")
    except SyntaxError as error:
        raise CourseError(
            f"{name}: the stub does not compile at line {error.lineno} ({error.msg}); "
            "leave a docstring or a signature outside the solution region"
        ) from None
    return stub


def solution_regions(text: str, name: str = "<module>") -> list[tuple[int, int]]:
    """Return the (first, last) line indices of every solution region, markers included."""
    regions, begin = [], None
    for index, line in enumerate(text.split("\n")):
        if _BEGIN.match(line):
            if begin is not None:
                raise CourseError(f"{name}:{index + 1}: BEGIN SOLUTION inside a solution; end the first one")
            begin = index
        elif _END.match(line):
            if begin is None:
                raise CourseError(f"{name}:{index + 1}: END SOLUTION without BEGIN SOLUTION; add the opening")
            regions.append((begin, index))
            begin = None
    if begin is not None:
        raise CourseError(f"{name}:{begin + 1}: BEGIN SOLUTION is never closed; add ### END SOLUTION")
    return regions


def solution_of(text: str, region: tuple[int, int]) -> str:
    """Return what a student is to find out of a region: the lines between its markers, up to `### GIVEN`."""
    lines, (begin, end) = text.split("\n"), region
    return "\n".join(lines[begin + 1 : _given(lines, begin, end)])


def is_given(text: str) -> bool:
    """Return whether students get a module with bugs to find (`### GIVEN`), not one with holes."""
    return any(map(_GIVEN.match, text.split("\n")))


def _given(lines: list[str], begin: int, end: int) -> int:
    """Return the index of the line `### GIVEN` of a region, else that of its end."""
    return next((index for index in range(begin, end) if _GIVEN.match(lines[index])), end)


def _functions(text: str, name: str) -> list[tuple[int, int, str]]:
    """Return (first line, last line, qualified name) of every function, outer ones first."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise CourseError(f"{name}:{error.lineno}: {error.msg}; the solution must be valid Python") from None
    found = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                qualified = f"{prefix}{child.name}"
                if not isinstance(child, ast.ClassDef):
                    found.append((child.lineno, child.end_lineno, qualified))
                visit(child, f"{qualified}.")
            else:
                visit(child, prefix)

    visit(tree, "")
    return found


def _innermost(functions: list[tuple[int, int, str]], line: int) -> str | None:
    inside = [(first, name) for first, last, name in functions if first < line < last]
    return max(inside)[1] if inside else None


# --- notebooks ----------------------------------------------------------------------------------------------


def build_notebook(part: Part) -> NotebookNode:
    """Return the instructor's notebook of `part`, made from its Markdown, with nbgrader's metadata.

    Cell ids follow from the content, so that the same text gives the same bytes. Raises CourseError for a
    check or report that course.toml does not know, knows with other points, or has and the text lacks.
    """
    from effdl.fences import from_markdown

    path = part.source / f"{part.notebook}.md"
    try:
        notebook = from_markdown(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(
            f"{path}: not found; write it, or correct notebook = {part.notebook!r} of part {part.number}"
        ) from None
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", _KERNEL)}
    found: Counter[str] = Counter()
    for cell in notebook.cells:
        if grading := _grading_metadata(cell, part, path):
            cell.metadata = {"nbgrader": grading}
            found[grading["grade_id"]] += 1
        else:
            tags = cell.metadata.get("tags")
            cell.metadata = {"tags": tags} if tags else {}
    for identity in (*part.items, *part.reports):
        if found[identity] != 1:
            kind = "check" if identity in part.items else "report"
            raise CourseError(
                f'{path}: {found[identity]} cells with {kind}="{identity}"; course.toml asks for exactly one'
            )
    _number_cells(notebook)
    return notebook


def _grading_metadata(cell: NotebookNode, part: Part, path: Path) -> dict[str, Any] | None:
    check, report = cell.metadata.get("check"), cell.metadata.get("report")
    if check is None and report is None:
        return None
    if check is not None and (report is not None or cell.cell_type != "code"):
        raise CourseError(f'{path}: check="{check}" must stand on a Python cell that is no report')
    identity = check if check is not None else report
    worth = part.items if check is not None else part.reports
    if identity not in worth:
        table = "items" if check is not None else "reports"
        raise CourseError(
            f"{path}: {identity!r} is not in course.toml; add it to parts.{part.number}.{table}"
        )
    stated = cell.metadata.get("points", worth[identity])
    if float(stated) != worth[identity]:
        raise CourseError(
            f"{path}: {identity} has points={stated} here and {worth[identity]:g} in course.toml; "
            "delete points= here"
        )
    return {
        "schema_version": SCHEMA_VERSION,
        "grade": True,
        "solution": check is None,
        "locked": check is not None,
        "task": False,
        "grade_id": identity,
        "points": worth[identity],
    }


def _number_cells(notebook: NotebookNode) -> None:
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\0{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def build_assignment(assignment: Assignment) -> list[Path]:
    """Write the instructor's notebook of every part for which it would be another one; return those written.

    The notebook stands beside its Markdown, where nbgrader looks for it, and is not kept in git.
    """
    written = []
    for part in assignment.parts.values():
        target, text = part.source / f"{part.notebook}.ipynb", _text_of(part)
        if not _holds(target, text):
            target.write_text(text, encoding="utf-8")
            written.append(target)
        else:
            # For `may_be_stale` only, which costs time where it is wrong: the file may be another instructor's.
            with contextlib.suppress(OSError):
                os.utime(target)
    return written


def _text_of(part: Part) -> str:
    from grader.lean import nbformat

    return nbformat.writes(build_notebook(part)) + "\n"


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode("utf-8")


def is_stale(part: Part) -> bool:
    """Return whether the notebook of `part` is not what its Markdown and course.toml make, whatever the dates say.

    False where there is no Markdown. Raises CourseError as `build_notebook` does.
    """
    text = part.source / f"{part.notebook}.md"
    return text.exists() and not _holds(text.with_suffix(".ipynb"), _text_of(part))


def may_be_stale(part: Part, course_file: Path) -> bool:
    """Return whether the notebook of `part` is missing or older than its Markdown or course.toml.

    Quicker than `is_stale`, and wrong where a file came with an older date, or was touched.
    """
    target, text = (part.source / f"{part.notebook}{ending}" for ending in (".ipynb", ".md"))
    if not text.exists():
        return False
    if not target.exists():
        return True
    built = target.stat().st_mtime_ns
    return any(path.stat().st_mtime_ns > built for path in (text, course_file))


# --- validation ---------------------------------------------------------------------------------------------


def validate(assignment: Assignment) -> list[str]:
    """Return what is wrong with the assignment's source, a sentence each with file, value and remedy.

    Checked: notebooks against course.toml; the points of an item's checks against the item's points; that
    every item has a public and a hidden check; check names; that stubs compile; and that no module with a
    solution is left out of `files`, where neither release nor grading would know it.
    """
    from effdl.fences import problems_of

    problems = []
    for part in assignment.parts.values():
        try:
            build_notebook(part)
            path = part.source / f"{part.notebook}.md"
            problems += [f"{path}: {problem}" for problem in problems_of(path.read_text(encoding="utf-8"))]
        except CourseError as error:
            problems.append(str(error))
        for identity in (*part.items, *part.reports):
            if not _GRADE_ID.fullmatch(identity):
                problems.append(f"course.toml: {identity!r} is no id; use letters, digits, _ and -")
        problems += _check_problems(part) + _module_problems(part)
    names = Counter(part.notebook for part in assignment.parts.values())
    problems += [
        f"course.toml: {count} parts of {assignment.name} share the notebook {name}; give each its own"
        for name, count in names.items()
        if count > 1
    ]
    listed = {name for part in assignment.parts.values() for name in part.files}
    for path in sorted(assignment.source.glob("*.py")):
        if path.name not in listed and solution_regions(path.read_text(encoding="utf-8"), str(path)):
            problems.append(f"{path}: holds a solution and no part lists it; add it to files in course.toml")
    return problems


def _check_problems(part: Part) -> list[str]:
    from grader.examine.checks import load_checks

    try:
        public = load_checks(part.checks_public, hidden=False)
        hidden = load_checks(part.checks_hidden, hidden=True)
    except CourseError as error:
        return [str(error)]
    problems = []
    for item, points in part.items.items():
        total = sum(check.points for check in public + hidden if check.item == item)
        if abs(total - points) > 1e-9:
            problems.append(
                f"{part.checks_public}: the checks of {item} add up to {total:g} points, course.toml says "
                f"{points:g}; change one"
            )
        for checks, path in ((public, part.checks_public), (hidden, part.checks_hidden)):
            if not any(check.item == item for check in checks):
                problems.append(f"{path}: no check of {item}; every item has a public and a hidden one")
    for check in public + hidden:
        path = part.checks_hidden if check.hidden else part.checks_public
        if check.item not in part.items:
            problems.append(f"{path}: {check.name} is a check of {check.item!r}, which course.toml lacks")
    for name, count in Counter(check.name for check in public + hidden).items():
        if count > 1:
            problems.append(f"{part.checks_hidden}: {count} checks are called {name}; rename one")
    return problems


def _module_problems(part: Part) -> list[str]:
    problems = []
    for name in part.files:
        path = part.source / name
        try:
            text = path.read_text(encoding="utf-8")
            if not solution_regions(text, str(path)):
                problems.append(f"{path}: no solution region; mark the reference with ### BEGIN SOLUTION")
            strip_solutions(text, str(path))
        except FileNotFoundError:
            problems.append(f"{path}: not found; write it, or take it out of files in course.toml")
        except CourseError as error:
            problems.append(str(error))
    return problems
