"""Build notebooks from their text: ``make notebooks`` is ``python -m effdl.build``.

A notebook's source is Jupytext Markdown (``week01_intro/lecture.md``). The build executes it in its own
folder and writes the ``.ipynb`` beside it, with outputs and with the source's SHA-256 in the metadata. What its
claims measured goes to the results of this kind of machine and into the week's README: page and table show one run.

    python -m effdl.build                      rebuild the notebooks whose source changed
    python -m effdl.build --all                rebuild every notebook
    python -m effdl.build --check              say which are stale or break the rules; change nothing
    python -m effdl.build --run --again        execute in strict mode, write nothing, run once more what failed
                                               (`make test`)
    python -m effdl.build --record             execute on a quiet machine, write only what claims measured

``--run`` skips a notebook that ran before with the same text, the same code of its week and of ``effdl``,
unless --all or the environment variable CI is given. ``--record`` gives this kind of machine its column in the
tables of claims: ``weekNN/results/KIND.json`` and the week's README.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from traitlets.config import Config

from effdl.quiet import QUIET, cores, wait_for_quiet
from effdl.scrub import scrub
from effdl.sockets import socket_folder
from effdl.sources import ROOT, BuildError, is_stale, lint, read, short_name, sources, where

STAMPS = ROOT / ".cache" / "executed.json"
OUTPUT_LIMIT = 300_000
CELL_TIMEOUT = 600  # only to end what hangs: longer than ranks may take in a test, see EFFDL_DEADLINE
LEAST_SECONDS, MOST_SECONDS = 0.5, 60
SLOW_CELL = 20  # seconds

MISSED: dict[str, str] = {}
"""Claims that did not hold and did not fail, as lines of JSON, by the name of their source."""

RECORDED_MISS = "it did not hold"
"""effdl.claims.MISSED, which a test holds equal: to import it here would import torch."""

OnCell = Callable[[int], None]
"""Told the index of a cell before it runs."""


class ClaimMissed(BuildError):
    """A claim that depends on the machine did not hold in this run, although it held on a machine of this kind."""


def execute(
    source: Path, environment: dict[str, str], on_cell: OnCell
) -> tuple[nbformat.NotebookNode, float]:
    """Execute a source in its own folder; return the notebook with outputs, and the seconds its cells took.

    A slow cell is printed. Raises BuildError naming the cell that raised, that took over CELL_TIMEOUT seconds or that
    killed the kernel, and for a notebook without code or one that ran in no time at all.
    """
    notebook = read(source)
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        raise BuildError(f"{short_name(source)} has no code cell; write ```python fences")
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    environment = environment | {"EFFDL_NOTEBOOK": str(source.resolve()), "PYTHONPATH": path}
    current, began, seconds = 0, 0.0, 0.0

    def start(cell: nbformat.NotebookNode, cell_index: int) -> None:
        nonlocal current, began
        current, began = cell_index, time.perf_counter()
        on_cell(cell_index)

    def stop(cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict) -> None:
        nonlocal seconds
        seconds += (took := time.perf_counter() - began)
        if took > SLOW_CELL:  # so that a log tells what a slow machine was slow at
            print(f"{short_name(source)}, {where(cell, cell_index + 1)} took {took:.0f} s")

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        record_timing=False,
        resources={"metadata": {"path": str(source.resolve().parent)}},
        on_cell_start=start,
        on_cell_executed=stop,
    )
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not one of the same name at home
    try:
        # Unix sockets in a private folder: no port to collide with, and nobody else on the machine can listen.
        sockets = socket_folder("effdl-", room=len("/kernel-99999"))
        try:
            client.config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
            client.execute(env=environment)
        finally:
            shutil.rmtree(sockets, ignore_errors=True)
    except (CellExecutionError, CellTimeoutError, RuntimeError) as error:
        place = where(notebook.cells[current], current + 1)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
        # By its name: to import effdl.claims here would import torch.
        kind = ClaimMissed if getattr(error, "ename", "") == "ClaimMissedHere" else BuildError
        raise kind(f"{short_name(source)}, {place} failed:\n{plain}") from error
    except AssertionError:
        # nbclient's handler of Ctrl-C ends the kernel, and then trips over the missing kernel.
        if client.km is None:
            raise KeyboardInterrupt from None
        raise
    if seconds < LEAST_SECONDS:
        raise BuildError(
            f"{short_name(source)} ran in {seconds:.2f} s; a lab that measures something takes longer"
        )
    return notebook, seconds


def check_size(notebook: nbformat.NotebookNode, source: Path) -> None:
    """Raise BuildError, naming the largest cell, if the outputs exceed 300 KB."""
    sizes = [len(json.dumps(cell.get("outputs", ""))) for cell in notebook.cells]
    if sum(sizes) > OUTPUT_LIMIT:
        largest = sizes.index(max(sizes))
        raise BuildError(
            f"{short_name(source)}: the outputs hold {sum(sizes) // 1000} KB, at most {OUTPUT_LIMIT // 1000}; "
            f"{where(notebook.cells[largest], largest + 1)} alone holds {sizes[largest] // 1000} KB: "
            "print less or draw a smaller figure"
        )


def build(source: Path, on_cell: OnCell) -> float:
    """Execute a source, write its notebook and what its claims measured; return the seconds its cells took.

    Raises BuildError. A build that fails leaves notebook and results as they were.
    """
    busy = wait_for_quiet(seconds=30)
    with _results_of(source):
        notebook, seconds = execute(source, _recording(), on_cell)
        scrub(notebook)
        check_size(notebook, source)
        nbformat.validate(notebook)
    target = source.with_suffix(".ipynb")
    partial = target.with_suffix(".ipynb.part")
    partial.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, target)
    if busy > QUIET:
        told = f"other programs used {busy:.0%} of the processors; build again when they are done"
        print(f"{short_name(source)}: {told}")
    return seconds


def _code(folder: Path) -> list[Path]:
    """The Python files of a folder and of those below it, such as figures/; tests run in no notebook."""
    return [file for file in folder.rglob("*.py") if "tests" not in file.relative_to(folder).parts]


def run_hash(source: Path) -> str:
    """SHA-256 of what a run depends on: the text, the code of its week and effdl, recorded results, this machine."""
    digest = hashlib.sha256(source.read_bytes())
    week = source.resolve().parent
    for file in sorted([*_code(week), *week.glob("results/*.json"), *_code(Path(__file__).parent)]):
        digest.update(file.read_bytes())
    limits = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")
    digest.update(repr([sys.prefix, cores(), *map(os.environ.get, limits)]).encode())
    return digest.hexdigest()


def _stamps() -> dict[str, str]:
    return json.loads(STAMPS.read_text(encoding="utf-8")) if STAMPS.exists() else {}


def _twice(
    source: Path, environment: dict[str, str], misses: Path, on_cell: OnCell
) -> tuple[nbformat.NotebookNode, float]:
    """Execute a source, and once more on a quiet machine if a claim missed what its kind of machine recorded."""
    try:
        return execute(source, environment, on_cell)
    except ClaimMissed as error:
        busy = wait_for_quiet()
        told = f"runs once more; other programs use {busy:.0%} of the processors."
        print(f"{error}\n{short_name(source)} {told}")
        misses.unlink(missing_ok=True)
        strict = "1" if busy <= QUIET else "anywhere"
        return execute(source, environment | {"EFFDL_STRICT": strict}, on_cell)


def run_strict(source: Path, on_cell: OnCell) -> float:
    """Execute a source with EFFDL_STRICT=1, write no notebook, and remember that this code ran.

    A claim that depends on the machine, held on this kind of machine when it was recorded and does not hold now is
    measured once more, with all of its notebook, as soon as other programs leave the processors alone. A second miss
    is a failure. Where other programs go on for two minutes, nothing can be said about such claims: the second run
    fails for those that depend on nothing, and lists the others. A notebook with listed claims runs again next time,
    unless the recorded results list them too.
    """
    digest = run_hash(source)
    MISSED.pop(short_name(source), None)  # of a run before this one
    with tempfile.TemporaryDirectory() as folder:
        misses = Path(folder) / "misses"
        environment = {**os.environ, "EFFDL_STRICT": "1", "EFFDL_MISSES": str(misses), "EFFDL_RECORD": "0"}
        try:
            notebook, seconds = _twice(source, environment, misses, on_cell)
        finally:
            if misses.exists():
                MISSED[short_name(source)] = misses.read_text(encoding="utf-8")
    check_size(notebook, source)
    if any(
        json.loads(line)["before"] != RECORDED_MISS
        for line in MISSED.get(short_name(source), "").splitlines()
    ):
        return seconds
    STAMPS.parent.mkdir(exist_ok=True)
    STAMPS.write_text(json.dumps(_stamps() | {short_name(source): digest}, indent=1, sort_keys=True))
    return seconds


def record(source: Path, on_cell: OnCell) -> float:
    """Execute a source on a quiet machine and write its claims' numbers to the results of this kind of machine.

    A run that fails leaves the results as they were.
    """
    if (busy := wait_for_quiet()) > QUIET:
        raise BuildError(
            f"{short_name(source)} was not recorded: other programs use {busy:.0%} of the processors; stop them first"
        )
    with _results_of(source):
        _, seconds = execute(source, _recording(), on_cell)
    return seconds


def _recording() -> dict[str, str]:
    return os.environ | {"EFFDL_RECORD": os.environ.get("EFFDL_RECORD", "1"), "EFFDL_STRICT": "0"}


@contextlib.contextmanager
def _results_of(source: Path) -> Iterator[None]:
    """Put the week's results back as they were if what runs meanwhile raises."""
    results = source.parent / "results"
    before = {file: file.read_bytes() for file in results.glob("*.json")}
    try:
        yield
    except BaseException:
        for file in results.glob("*.json"):
            file.write_bytes(before[file]) if file in before else file.unlink()
        raise


def check(todo: list[Path]) -> int:
    """Print what is stale and what breaks the rules; return how many problems there are."""
    problems = [problem for source in todo for problem in lint(source)]
    stale = [short_name(source) for source in todo if is_stale(source)]
    for problem in problems:
        print(problem)
    if stale:
        print(f"stale: {', '.join(stale)}; run 'make notebooks' and commit the .ipynb files")
    if not problems and not stale:
        print(f"{len(todo)} notebooks are up to date")
    return len(problems) + len(stale)


def _each(todo: list[Path], action: Callable[[Path, OnCell], float], verb: str) -> dict[Path, str]:
    """Do the action on every source, with a progress bar; print failures; return their words."""
    failures: dict[Path, str] = {}
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(highlight=False, soft_wrap=True)) as progress:
        for source in todo:
            cells = len(read(source).cells)
            task = progress.add_task(short_name(source), total=cells)
            try:
                seconds = action(source, lambda index, task=task: progress.update(task, completed=index))
            except BuildError as error:
                failures[source] = str(error)
                progress.console.print(str(error), style="red", markup=False)
                continue
            progress.update(task, completed=cells)
            slow = f"; a lab takes at most {MOST_SECONDS} s" if seconds > MOST_SECONDS else ""
            progress.console.print(f"{verb} {short_name(source)} in {seconds:.1f} s{slow}")
    return failures


def _run_all(todo: list[Path], again: bool) -> int:
    """Run every source, with `again` those that failed once more; return how many failed in their last run."""
    first = _each(todo, run_strict, "ran")
    last = _each(list(first), run_strict, "ran again") if again else first
    for source, words in first.items():  # told once more below the bars, where a long log ends
        print(f"{short_name(source)} failed{', and passed when it ran again' if source not in last else ''}:")
        print(words)
        if last.get(source, words) != words:
            print(f"and when it ran again:\n{last[source]}")
    return len(last)


def _list_misses() -> None:
    if not MISSED:
        return
    # Imported late: it imports torch.
    from effdl.claims import Claim, misses_in_words

    told = ((name, json.loads(line)) for name, lines in MISSED.items() for line in lines.splitlines())
    misses = [Claim(**fields | {"text": f"{name}: {fields['text']}"}) for name, fields in told]
    print("\n".join(misses_in_words(misses)))


def _write_tables(todo: list[Path]) -> None:
    # Imported late: it imports torch.
    from effdl.claims_table import write_table

    for week in sorted({source.parent for source in todo}):
        if (week / "results").is_dir():
            write_table(week)


def main(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="sources or week folders; all weeks if none")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="also those that did not change")] = False,
    check_only: Annotated[bool, typer.Option("--check", help="report, change nothing")] = False,
    run: Annotated[bool, typer.Option("--run", help="execute in strict mode, write nothing")] = False,
    again: Annotated[bool, typer.Option("--again", help="with --run: what failed runs once more")] = False,
    record_too: Annotated[bool, typer.Option("--record", help="execute, write results and READMEs")] = False,
) -> None:
    """Build notebooks from their Markdown sources."""
    if again and not run:
        raise typer.BadParameter("--again goes with --run")
    try:
        todo = sources(paths or [])
    except BuildError as error:
        raise typer.BadParameter(str(error)) from error
    if check_only:
        raise typer.Exit(1 if check(todo) else 0)
    if run:
        every = every or bool(os.environ.get("CI"))
        changed = [
            source for source in todo if every or _stamps().get(short_name(source)) != run_hash(source)
        ]
        MISSED.clear()
        failures = _run_all(changed, again)
        _list_misses()
    elif record_too:
        changed = todo
        failures = len(_each(todo, record, "recorded"))
        _write_tables(todo)
    else:
        changed = [source for source in todo if every or is_stale(source)]
        failures = len(_each(changed, build, "built")) + (check(changed) if changed else 0)
        _write_tables(changed)
    if len(changed) < len(todo):
        print(f"{len(todo) - len(changed)} of {len(todo)} notebooks did not change")
    raise typer.Exit(1 if failures else 0)


if __name__ == "__main__":
    typer.run(main)
