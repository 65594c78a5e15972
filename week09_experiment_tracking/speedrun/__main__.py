"""The command of the speedrun: `python -m week09_experiment_tracking.speedrun [mine.py] [--check] [--start]`."""

from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated

import torch
import typer

from effdl import device
from effdl.notebook import Table
from week09_experiment_tracking.speedrun import rules, track

Track = Enum("Track", [(one, one) for one in rules.TRACKS])


def table(records: list[rules.Record]) -> Table:
    """The list for a reader."""
    rows = []
    for record in records:
        (mean, *_), (ratio, low, high) = record.seconds(), record.ratio()
        rows.append(
            [
                record.name,
                record.track,
                len(record.runs),
                f"{record.loss:.4f}",
                f"{record.p:.1e}",
                f"{mean:.2f}",
                f"{ratio:.2f} ({low:.2f} to {high:.2f})",
                record.machine,
            ]
        )
    return Table(
        [
            "recipe",
            "track",
            "runs",
            "mean loss",
            "p",
            "seconds",
            "time over the baseline's (95 %)",
            "machine",
        ],
        rows,
    )


def main(
    recipe: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="a file with train(inputs, targets, seed)"),
    ] = None,
    runs: Annotated[int, typer.Option(min=1)] = rules.RUNS,
    where: Annotated[Track, typer.Option("--track")] = Track.cpu,
    name: Annotated[str, typer.Option(help="of the entry; that of the file without it")] = "",
    check: Annotated[bool, typer.Option("--check", help="only examine and show the list")] = False,
    start: Annotated[bool, typer.Option("--start", help="measure the three first recipes anew")] = False,
    only_try: Annotated[bool, typer.Option("--try", help="show the result, keep nothing")] = False,
) -> None:
    """Train to a target loss, as fast as you can: run, judge, list."""
    if where is Track.cpu:
        torch.set_num_threads(2)
    recipes = dict(track.RECIPES) if start else {track.BASELINE: track.adam}
    if recipe:
        try:
            recipes[name or recipe.stem] = track.load(recipe)
        except (ValueError, SyntaxError, ImportError) as error:
            raise typer.BadParameter(f"{recipe}: {error}") from error
    if not check and len(recipes) > 1:
        found = track.session(recipes, runs, where.value)
        about = {"machine": device.kind_label(), "date": str(date.today()), "torch": torch.__version__}
        for entry, done in found.items():
            if entry != track.BASELINE or start:
                record = rules.Record(entry, where.value, runs=done, baseline=found[track.BASELINE], **about)
                print(f"{entry}: mean loss {record.loss:.4f}, p = {record.p:.2g}")
                if only_try:
                    print(table([record]))
                else:
                    rules.add(record)
    print(table(rules.read()))


if __name__ == "__main__":
    typer.run(main)
