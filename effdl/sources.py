"""The sources of notebooks: which there are, the notebook of each, and the rules that each must follow."""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parent.parent
LONGEST_CELL = 25


class BuildError(Exception):
    """A notebook cannot be built; the message names the notebook, the cell and the remedy."""


def sources(paths: list[Path]) -> list[Path]:
    """Notebook sources among files and folders; without paths, those of all week folders.

    A source is any Markdown file of a week folder but README.md; a built notebook stands for its source.
    Raises BuildError for a path that is neither a folder nor a notebook with a source.
    """
    found: list[Path] = []
    for path in paths or sorted(ROOT.glob("week[0-9][0-9]_*")):
        if path.is_dir():
            found += sorted(file for file in path.glob("*.md") if file.name != "README.md")
        elif path.suffix in (".md", ".ipynb") and path.with_suffix(".md").is_file():
            found.append(path.with_suffix(".md"))
        else:
            raise BuildError(
                f"{path} is neither a folder nor a notebook source; give week01_intro/lecture.md"
            )
    return found


def short_name(source: Path) -> str:
    """The name of a source for messages: week01_intro/lecture.md."""
    return f"{source.resolve().parent.name}/{source.name}"


def source_hash(source: Path) -> str:
    """SHA-256 of the text, as the notebook's metadata carries it."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def is_stale(source: Path) -> bool:
    """True if the notebook is missing or was built from another text."""
    built = source.with_suffix(".ipynb")
    if not built.exists():
        return True
    metadata = json.loads(built.read_text(encoding="utf-8")).get("metadata", {})
    return metadata.get("effdl", {}).get("source_sha256") != source_hash(source)


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook of a text, without outputs, with ids and metadata that depend on the text alone."""
    notebook = jupytext.read(source, fmt="md")
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        # An id made of the cell's own text: a change in one cell leaves the ids of all others alone.
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        cell.metadata.pop("lines_to_next_cell", None)  # what jupytext notes about blank lines
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "effdl": {"source_sha256": source_hash(source)},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def lint(source: Path) -> list[str]:
    """What breaks the rules for notebooks in a source, one sentence each, naming file and cell."""
    problems = []
    for number, cell in enumerate(read(source).cells, start=1):
        found = _code_problems(cell) if cell.cell_type == "code" else _image_problems(cell.source)
        problems += [f"{short_name(source)}, {where(cell, number)}: {problem}" for problem in found]
    return problems


def where(cell: nbformat.NotebookNode, number: int) -> str:
    """A cell for messages: its number, from 1, and its first line."""
    first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
    return f"cell {number} ({first[:60]!r})"


def _code_problems(cell: nbformat.NotebookNode) -> Iterator[str]:
    if cell.metadata:
        yield f"cell options {dict(cell.metadata)}; write a plain ```python fence"
    length = len(cell.source.strip().splitlines())
    if length > LONGEST_CELL:
        yield f"{length} lines of code, at most {LONGEST_CELL}; move code to a module and show() it"
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        # Lines that Python cannot parse: a magic, a shell line, a fence in another language, or a mistake.
        line = (cell.source.splitlines() or [""])[(error.lineno or 1) - 1].strip()
        remedy = "no magics and no shell lines: effdl.run runs the cells as plain Python"
        yield f"line {line!r} is not Python ({error.msg}); {remedy}"
        return
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", getattr(node.func, "attr", "")) == "caption"
        ):
            values = node.args[2:3] + [word.value for word in node.keywords if word.arg == "alt"]
            if not values or (isinstance(values[0], ast.Constant) and not str(values[0].value).strip()):
                yield "caption() without alternative text; pass alt='what is drawn'"


def _image_problems(text: str) -> Iterator[str]:
    for image in re.findall(r"!\[\s*\]\([^)]*\)", text):
        yield f"image {image} without alternative text; write ![what is drawn](...)"
    for tag in re.findall(r"<img\b[^>]*>", text):
        if not re.search(r"\balt\s*=\s*(\"[^\"]+\"|'[^']+')", tag):
            yield f"image {tag} without alternative text; add alt='what is drawn'"
