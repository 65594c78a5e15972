"""Build notebooks from their text: ``make notebooks`` is ``python -m effdl.build``.

A notebook's source is Jupytext Markdown (``week01_intro/lecture.md``). The build executes it in its own
folder and writes the ``.ipynb`` beside it, with outputs and with the source's SHA-256 in the metadata.

    python -m effdl.build                      rebuild the notebooks whose source changed
    python -m effdl.build --all                rebuild every notebook
    python -m effdl.build --check              say which are stale or break the rules; change nothing
    python -m effdl.build --run                execute in strict mode, write nothing (what the tests do)

``--run`` skips a notebook that already ran with the same text, week code and ``effdl``, unless --all or CI is set.
"""

import ast
import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jupytext
import nbformat
import typer
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).resolve().parent.parent
STAMPS = ROOT / ".cache" / "executed.json"
LONGEST_CELL = 25
OUTPUT_LIMIT = 300_000
CELL_TIMEOUT = 300
LEAST_SECONDS = 0.5


class BuildError(Exception):
    """A notebook cannot be built; the message names the notebook, the cell and the remedy."""


def sources(paths: list[Path], root: Path = ROOT) -> list[Path]:
    """Notebook sources among files and folders; without paths, those of all week folders.

    A source is any Markdown file of a week folder but README.md.
    Raises BuildError for a path that is neither a folder nor a Markdown file.
    """
    found: list[Path] = []
    for path in paths or sorted(root.glob("week[0-9][0-9]_*")):
        if path.is_dir():
            found += sorted(file for file in path.glob("*.md") if file.name != "README.md")
        elif path.suffix in (".md", ".ipynb") and path.with_suffix(".md").is_file():
            found.append(path.with_suffix(".md"))
        else:
            raise BuildError(
                f"{path} is neither a folder nor a notebook source; give week01_intro/lecture.md"
            )
    return found


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
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = nbformat.NotebookNode()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "effdl": {"source_sha256": source_hash(source)},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _code_problems(code: str) -> Iterator[str]:
    length = len(code.strip().splitlines())
    if length > LONGEST_CELL:
        yield f"{length} lines of code; at most {LONGEST_CELL}: move code to a module and show() it"
    for line in code.splitlines():
        if re.match(r"\s*(%|!|\?)", line):
            yield f"magic or shell line {line.strip()!r}; write Python, so that effdl.run can run it too"
            return
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        yield f"syntax error in line {error.lineno}: {error.msg}"
        return
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", getattr(node.func, "attr", "")) == "caption"
        ):
            values = node.args[2:3] + [keyword.value for keyword in node.keywords if keyword.arg == "alt"]
            if not values or (isinstance(values[0], ast.Constant) and not str(values[0].value).strip()):
                yield "caption() without alternative text; pass alt='what is drawn'"


def lint(source: Path) -> list[str]:
    """What breaks the rules for notebooks in a source, one sentence each, naming file and cell."""
    problems = []
    for number, cell in enumerate(read(source).cells, start=1):
        if cell.cell_type == "code":
            found = list(_code_problems(cell.source))
        else:
            found = [
                f"image {m} without alternative text" for m in re.findall(r"!\[\s*\]\([^)]*\)", cell.source)
            ]
            for tag in re.findall(r"<img\b[^>]*>", cell.source):
                if not re.search(r"\balt\s*=\s*(\"[^\"]+\"|'[^']+')", tag):
                    found.append(f"image {tag} without alternative text")
        problems += [f"{name(source)}, {_where(cell, number)}: {problem}" for problem in found]
    return problems


def name(source: Path) -> str:
    """The short name of a source for messages: week01_intro/lecture.md."""
    return f"{source.resolve().parent.name}/{source.name}"


def _where(cell: nbformat.NotebookNode, number: int) -> str:
    first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
    return f"cell {number} ({first[:60]!r})"


def execute(source: Path, on_cell: Any = lambda number: None) -> tuple[nbformat.NotebookNode, float]:
    """Execute a source in its own folder; return the notebook with outputs, and seconds spent in cells.

    Raises BuildError naming the cell that raised, that outlived 300 s or that killed the kernel, and
    for a notebook without code or one that ran in no time at all.
    """
    notebook = read(source)
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        raise BuildError(f"{name(source)} has no code cell; write ```python fences")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "EFFDL_NOTEBOOK": str(source.resolve()), "PYTHONPATH": path}
    current = 0

    def start(cell: nbformat.NotebookNode, cell_index: int) -> None:
        nonlocal current
        current = cell_index
        on_cell(cell_index)

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(source.resolve().parent)}},
        on_cell_start=start,
    )
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not one of the same name at home
    begin = time.perf_counter()
    try:
        client.execute(env=environment)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        where = _where(notebook.cells[current], current + 1)
        raise BuildError(f"{name(source)}, {where} failed:\n{_plain(str(error))}") from error
    seconds = time.perf_counter() - begin
    if seconds < LEAST_SECONDS:
        raise BuildError(
            f"{name(source)} ran in {seconds:.2f} s; a notebook that computes nothing is a mistake"
        )
    return notebook, seconds


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _private_strings() -> list[tuple[re.Pattern, str]]:
    """Patterns that an output must not hold, each with what stands for it on the page; longest path first."""
    paths = {str(ROOT): ".", sys.prefix: "<python>", sys.base_prefix: "<python>", str(Path.home()): "~"}
    pairs = [
        (re.compile(re.escape(path) + r"(?=[/\\\"'\s:,)\]]|$)"), stand_in)
        for path, stand_in in sorted(paths.items(), key=lambda item: -len(item[0]))
        if len(path) > 1
    ]
    host = socket.gethostname()
    # A host called "gpu" would take the word out of every sentence.
    if re.search(r"[\d.-]", host) or len(host) >= 8:
        pairs.append((re.compile(rf"(?<![\w-]){re.escape(host)}(?![\w-])"), "localhost"))
    pairs.append((re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "<cell>"))
    pairs.append((re.compile(r"\b0x[0-9a-f]{9,16}\b"), "0x…"))
    return pairs


def scrub(notebook: nbformat.NotebookNode) -> None:
    """Take paths, the host name and memory addresses out of the outputs, and what differs from run to run."""
    private = _private_strings()

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for pattern, stand_in in private:
                value = pattern.sub(stand_in, value)
            return value
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, dict):
            return type(value)(
                {key: item if key.startswith("image/png") else clean(item) for key, item in value.items()}
            )
        return value

    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [clean(output) for output in cell.outputs]


def check_size(notebook: nbformat.NotebookNode, source: Path) -> None:
    """Raise BuildError, naming the largest cell, if the outputs exceed 300 KB."""
    sizes = {
        number: len(json.dumps(cell.outputs))
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "code"
    }
    if sum(sizes.values()) > OUTPUT_LIMIT:
        largest = max(sizes, key=lambda number: sizes[number])
        raise BuildError(
            f"{name(source)}: outputs hold {sum(sizes.values()) // 1000} KB, at most {OUTPUT_LIMIT // 1000}; "
            f"{_where(notebook.cells[largest - 1], largest)} alone holds {sizes[largest] // 1000} KB: "
            "print less or draw a smaller figure"
        )


def build(source: Path, on_cell: Any = lambda number: None) -> float:
    """Execute a source and write its notebook; return the seconds it took. Raises BuildError."""
    notebook, seconds = execute(source, on_cell)
    scrub(notebook)
    check_size(notebook, source)
    nbformat.validate(notebook)
    target = source.with_suffix(".ipynb")
    partial = target.with_name(target.name + ".part")
    partial.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, target)
    return seconds


def run_hash(source: Path) -> str:
    """SHA-256 of all that a run depends on: the text, the code of its week, and effdl."""
    digest = hashlib.sha256(source.read_bytes())
    code = [*source.resolve().parent.glob("*.py"), *Path(__file__).parent.glob("*.py")]
    for file in sorted(code):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _stamps() -> dict[str, str]:
    return json.loads(STAMPS.read_text()) if STAMPS.exists() else {}


def run_strict(source: Path, on_cell: Any = lambda number: None) -> float:
    """Execute a source with EFFDL_STRICT=1, write no notebook, and remember that this code ran."""
    os.environ["EFFDL_STRICT"] = "1"
    notebook, seconds = execute(source, on_cell)
    check_size(notebook, source)
    STAMPS.parent.mkdir(exist_ok=True)
    STAMPS.write_text(json.dumps(_stamps() | {name(source): run_hash(source)}, indent=1, sort_keys=True))
    return seconds


def _each(todo: list[Path], action: Any, verb: str) -> int:
    """Do the action on every source with a progress bar; print failures; return how many there were."""
    console = Console()
    failures = []
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        for source in todo:
            task = progress.add_task(name(source), total=len(read(source).cells))
            try:
                seconds = action(source, lambda number, task=task: progress.update(task, completed=number))
            except BuildError as error:
                failures.append(source)
                progress.console.print(str(error), style="red", markup=False)
                continue
            progress.update(task, completed=len(read(source).cells))
            progress.console.print(f"{verb} {name(source)} in {seconds:.1f} s", markup=False, highlight=False)
    return len(failures)


def check(todo: list[Path]) -> int:
    """Print what is stale and what breaks the rules; return how many problems there are."""
    problems = [problem for source in todo for problem in lint(source)]
    stale = [name(source) for source in todo if is_stale(source)]
    for line in problems:
        print(line)
    if stale:
        print(f"stale: {', '.join(stale)}; run 'make notebooks' and commit the .ipynb files")
    if not problems and not stale:
        print(f"{len(todo)} notebooks are up to date")
    return len(problems) + len(stale)


def main(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="sources or week folders; all weeks if none")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="also those that did not change")] = False,
    check_only: Annotated[bool, typer.Option("--check", help="report, change nothing")] = False,
    run: Annotated[bool, typer.Option("--run", help="execute in strict mode, write nothing")] = False,
) -> None:
    """Build notebooks from their Markdown sources."""
    try:
        todo = sources(paths or [])
    except BuildError as error:
        raise typer.BadParameter(str(error)) from error
    if check_only:
        raise typer.Exit(1 if check(todo) else 0)
    if run:
        every = all or bool(os.environ.get("CI"))
        changed = [source for source in todo if every or _stamps().get(name(source)) != run_hash(source)]
        raise typer.Exit(1 if _each(changed, run_strict, "ran") else 0)
    changed = [source for source in todo if all or is_stale(source)]
    for problem in (problem for source in changed for problem in lint(source)):
        print(problem)
    raise typer.Exit(1 if _each(changed, build, "built") else 0)


if __name__ == "__main__":
    typer.run(main)
