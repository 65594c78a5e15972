"""How often is ``effdl.bench.compare`` wrong? ``python -m week01_intro.instrument [--trials N] [--write]``.

Two functions whose ratio is known by construction are compared again and again: the same function twice (A/A), one
with 5 % and one with 8 % more work, on this machine as it is, with neighbours that come and go, and with one program
for every core that never rests. A comparison says that one function is slower where its 98 % interval excludes 1.

``--write`` puts the table into results/INSTRUMENT.md, under the name of this kind of machine.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import track

from effdl import bench, device
from effdl.notebook import Table
from effdl.quiet import spinning
from week01_intro.bursty_load import loaded_cores
from week01_intro.ranking import repeat_work, same_work_elsewhere

PAGE = Path(__file__).parent / "results" / "INSTRUMENT.md"
PAIRS = 20
WORK = {"the same function twice": (40, 40), "5 % more work": (40, 42), "8 % more work": (50, 54)}
"""Units of work of A and of B, by name."""


STATES: dict[str, Callable[[], AbstractContextManager]] = {
    "as it is": contextlib.nullcontext,
    "neighbours come and go": lambda: loaded_cores(device.cores()),
    "a spinning program for each core": lambda: spinning(device.cores()),
}


@dataclass(frozen=True)
class Errors:
    """What so many comparisons said of two functions whose ratio is known."""

    trials: int
    wrong: int
    """The faster one was called slower; of equal functions, one was called slower."""
    undecided: int
    """The interval holds 1: the right answer if the functions are equal."""
    outside: int
    """The true ratio lies outside the interval. A 98 % interval promises 2 in 100."""


def errors(a: Callable[[], Any], b: Callable[[], Any], truth: float, trials: int) -> Errors:
    """Compare a with b ``trials`` times, 20 pairs each; b truly takes ``truth`` times as long, 1 or more."""
    counts: Counter[str] = Counter()
    for _ in range(trials):
        ratio = bench.compare({"a": a, "b": b}, pairs=PAIRS).ratio("b", "a")
        undecided = ratio.low <= 1 <= ratio.high
        counts["undecided"] += undecided
        counts["wrong"] += not undecided and (truth == 1 or ratio.high < 1)
        counts["outside"] += not ratio.low <= truth <= ratio.high
    return Errors(trials, counts["wrong"], counts["undecided"], counts["outside"])


def measure(trials: int) -> Table:
    """The table: one row per state of the machine and known difference."""
    rows = []
    for state, load in STATES.items():
        with load():
            for name, (less, more) in track(list(WORK.items()), description=state, transient=True):
                found = errors(*repeat_work(less, more), more / less, trials)
                shares = (found.wrong, found.undecided, found.outside)
                rows.append([state, name, *(f"{100 * count / trials:.1f} %" for count in shares)])
    elsewhere = same_work_elsewhere(40, 4)
    found = errors(elsewhere[3], elsewhere[0], 1, trials)
    shares = (found.wrong, found.undecided, found.outside)
    rows.append(
        ["as it is", "the same work, results elsewhere", *(f"{100 * n / trials:.1f} %" for n in shares)]
    )
    return Table(["machine", "difference", "wrong", "undecided", "truth outside the interval"], rows)


def markdown(table: Table) -> str:
    """The table as Markdown."""
    lines = [table.headers, ["---"] * len(table.headers), *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(table: Table, trials: int) -> None:
    """Put the table into INSTRUMENT.md, in place of what this kind of machine has there."""
    heading = f"## {device.kind_label()}"
    text = PAGE.read_text(encoding="utf-8")
    section = f"{heading}\n\n{trials} comparisons a row, torch {torch.__version__}.\n\n{markdown(table)}\n"
    others = re.sub(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    PAGE.write_text(f"{others.rstrip()}\n\n{section}", encoding="utf-8")


def main(
    trials: Annotated[int, typer.Option(min=10, help="comparisons per row")] = 200,
    keep: Annotated[bool, typer.Option("--write", help="put the table into INSTRUMENT.md")] = False,
) -> None:
    """Measure how often a comparison of two functions is wrong on this machine."""
    torch.set_num_threads(1)
    table = measure(trials)
    print(table)
    if keep:
        write(table, trials)


if __name__ == "__main__":
    typer.run(main)
