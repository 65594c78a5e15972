"""Runs the hostile corpus and prints what came of it: `python -m grader.tests.attacks [NAME ...]`.

The exit code is 1 where an attack gained a point, learnt something, harmed somebody, or lost what it deserved.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grader.tests.attacks import corpus
from grader.tests.attacks.corpus import FAMILIES, KINDS, Attack, Outcome

console = Console(width=None if sys.stdout.isatty() else 130)


@dataclass(frozen=True)
class Row:
    """One family, or all, in numbers."""

    name: str
    attempted: int
    gained: float  # points that no work deserved
    lost: float  # points that work deserved
    informed: int  # attacks that got hold of something
    harmful: int  # attacks that harmed somebody


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Parts of names; all where none is given.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(KINDS)}; all by default.")
    ] = None,
    fast: Annotated[bool, typer.Option(help="Only what `make test` runs.")] = False,
    stock: Annotated[bool, typer.Option(help="Run nbgrader beside, where it can run an attack.")] = True,
    results: Annotated[Path | None, typer.Option(help="Write the tables to this file as Markdown.")] = None,
) -> None:
    """Run the corpus, whole or in part."""
    if unknown := set(kind or ()) - set(KINDS):
        raise typer.BadParameter(f"{', '.join(unknown)} is no kind of attack; there are {', '.join(KINDS)}")
    attacks = [a for one in kind or KINDS for a in corpus.load(one)]
    attacks = [a for a in attacks if a.fast or not fast]
    attacks = [a for a in attacks if not names or any(name in a.name for name in names)]
    if not attacks:
        raise typer.BadParameter(f"no attack is named like {', '.join(names or ['that'])}")
    started = time.perf_counter()
    ours, theirs = run(attacks, stock=stock)
    seconds = time.perf_counter() - started
    console.print(attacks_table(ours, theirs))
    console.print(families_table(ours, theirs))
    for outcome in ours:
        if not outcome.held:
            console.print(f"[red]{escape(outcome.attack.name)}[/]: {escape('; '.join(findings(outcome)))}")
    console.print(f"{len(ours)} attacks in {seconds:.0f} s.", highlight=False)
    if results:
        results.write_text(as_markdown(ours, theirs, seconds), encoding="utf-8")
    if not all(outcome.held for outcome in ours):
        raise typer.Exit(1)


def run(attacks: Sequence[Attack], *, stock: bool) -> tuple[list[Outcome], list[Outcome]]:
    """Return what each attack came to here, and what those came to that stock nbgrader can run."""
    ours: list[Outcome] = []
    theirs: list[Outcome] = []
    for kind in KINDS:
        chosen = [attack for attack in attacks if attack.kind == kind]
        if not chosen:
            continue
        with console.status(f"{kind}: {len(chosen)} attacks ...") as status:

            def tell(text: str, kind: str = kind, status: object = status) -> None:
                status.update(f"{kind}: {escape(text)}")

            if kind == "parts":
                ours += _run_parts(chosen, tell)
            elif kind == "notebooks":
                from grader.tests.attacks import notebook_runner

                ours += notebook_runner.run(chosen, progress=tell)
                theirs += notebook_runner.run(chosen, stock=True, progress=tell) if stock else []
            elif kind == "steps":
                from grader.tests.attacks import steps_runner

                ours += steps_runner.run(chosen, progress=tell)
            else:
                from grader.tests.attacks import files_runner

                ours += files_runner.run(chosen, progress=tell)
                theirs += files_runner.run(chosen, stock=True, progress=tell) if stock else []
    return ours, theirs


def _run_parts(attacks: Sequence[Attack], tell: Callable[[str], None]) -> list[Outcome]:
    from grader.tests.attacks import part_runner

    slowdowns: dict[str, float] = {}

    def hear(found: Outcome, slowdown: float) -> None:
        slowdowns[found.attack.name] = slowdown
        tell(found.attack.name)

    outcomes = part_runner.run(attacks, progress=hear)
    worst = max(slowdowns, key=slowdowns.__getitem__)
    console.print(
        f"An honest neighbour took {statistics.median(slowdowns.values()):.2g} times as long beside an attack as "
        f"alone (median), at most {slowdowns[worst]:.2g} times, beside {worst}.",
        highlight=False,
    )
    return outcomes


def findings(outcome: Outcome) -> list[str]:
    """Return what an attack should not have come to, a sentence each."""
    found = [f"got hold of {what}" for what in outcome.leaked] + outcome.harm
    if outcome.earned != outcome.deserved:
        found.insert(0, f"earned {outcome.earned:g} where its work deserves {outcome.deserved:g}")
    return found


def summarize(name: str, outcomes: Sequence[Outcome]) -> Row:
    """Return the numbers of some outcomes."""
    return Row(
        name=name,
        attempted=len(outcomes),
        gained=sum(max(0.0, o.earned - o.deserved) for o in outcomes),
        lost=sum(max(0.0, o.deserved - o.earned) for o in outcomes),
        informed=sum(bool(o.leaked) for o in outcomes),
        harmful=sum(bool(o.harm) for o in outcomes),
    )


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return a row for each family that has outcomes, and one for all."""
    families = {name: [o for o in outcomes if o.attack.family == name] for name in FAMILIES}
    return [summarize(name, some) for name, some in families.items() if some] + [summarize("all", outcomes)]


def families_table(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Table:
    """Return the table of families, this grader's numbers and those of stock nbgrader."""
    table = Table(title="By family", box=box.SIMPLE_HEAD, title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
    for grader, outcomes in (("this", ours), ("nbgrader", theirs)):
        for row in rows(outcomes) if outcomes else ():
            table.add_row(grader, *_cells(row))
    return table


HEADINGS = ("grader", "family", "attempted", "points gained", "points lost", "informed", "harmful")


def _cells(row: Row) -> list[str]:
    numbers = (row.attempted, row.gained, row.lost, row.informed, row.harmful)
    return [row.name, *(f"{number:g}" for number in numbers)]


def attacks_table(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Table:
    """Return the table of attacks, a line each."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("attack", overflow="fold", ratio=3)
    table.add_column("tries to", ratio=6)
    for heading in ("deserves", "earned", "nbgrader"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("held", no_wrap=True)
    for outcome, other in _beside(ours, theirs):
        table.add_row(
            f"{outcome.attack.kind}/{outcome.attack.name}",
            escape(outcome.attack.tries),
            f"{outcome.deserved:g}",
            f"{outcome.earned:g}",
            _shown(other),
            "[green]yes[/]" if outcome.held else "[red]no[/]",
        )
    return table


def as_markdown(ours: Sequence[Outcome], theirs: Sequence[Outcome], seconds: float) -> str:
    """Return both tables as the page that is committed."""
    lines = [
        "# What the attacks came to",
        "",
        "Written by `python -m grader.tests.attacks --results grader/tests/attacks/RESULTS.md`:",
        f"{len(ours)} attacks in {seconds:.0f} s on {platform.system()} {platform.release().split('-')[0]}, Python "
        f"{platform.python_version()}.",
        "",
        "Gained: points beyond what the honest part of the work deserves; lost: points short of it. Informed:",
        "attacks that got hold of something; harmful: attacks that harmed another student, the grader or the",
        "machine. nbgrader runs those attacks that can be handed to it, in the same run.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---" * 2 + "|---:" * (len(HEADINGS) - 2) + "|",
    ]
    for grader, outcomes in (("this", ours), ("nbgrader", theirs)):
        for row in rows(outcomes) if outcomes else ():
            lines.append("| " + " | ".join([grader, *_cells(row)]) + " |")
    lines += [
        "",
        "| attack | tries to | deserves | earned | nbgrader | held |",
        "|---|---|---:|---:|---:|---|",
    ]
    for outcome, other in _beside(ours, theirs):
        attack = outcome.attack
        held = "yes" if outcome.held else "**no**: " + "; ".join(findings(outcome))
        cells = [f"{attack.kind}/{attack.name}", attack.tries, f"{outcome.deserved:g}", f"{outcome.earned:g}"]
        lines.append("| " + " | ".join(_escape(cell) for cell in [*cells, _shown(other), held]) + " |")
    return "\n".join(lines) + "\n"


def _beside(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> list[tuple[Outcome, Outcome | None]]:
    others = {(o.attack.kind, o.attack.name): o for o in theirs}
    return [(outcome, others.get((outcome.attack.kind, outcome.attack.name))) for outcome in ours]


def _shown(other: Outcome | None) -> str:
    if other is None:
        return ""
    marks = ["informed"] * bool(other.leaked) + ["harm"] * bool(other.harm)
    return ", ".join([f"{other.earned:g}", *marks])


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    typer.run(main)
