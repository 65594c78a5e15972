"""The command of the speedrun: `python -m week09_experiment_tracking.speedrun [mine.py] [--check] [--start]`."""

import argparse
from datetime import date
from pathlib import Path

import torch

from effdl import device
from effdl.notebook import Table
from week09_experiment_tracking.speedrun import rules, track


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


def main() -> None:
    """Run, judge, list."""
    parser = argparse.ArgumentParser(description="Train to a target loss, as fast as you can.")
    parser.add_argument("recipe", nargs="?", type=Path, help="a file with train(inputs, targets, seed)")
    parser.add_argument("--runs", type=int, default=rules.RUNS)
    parser.add_argument("--track", choices=rules.TRACKS, default="cpu")
    parser.add_argument("--name", help="of the entry; that of the file without it")
    parser.add_argument("--check", action="store_true", help="only examine and show the list")
    parser.add_argument("--start", action="store_true", help="measure the three first recipes anew")
    parser.add_argument("--try", dest="only_try", action="store_true", help="show the result, keep nothing")
    options = parser.parse_args()
    if options.track == "cpu":
        torch.set_num_threads(2)
    recipes = dict(track.RECIPES) if options.start else {track.BASELINE: track.adam}
    if options.recipe:
        recipes[options.name or options.recipe.stem] = track.load(options.recipe)
    if not options.check and len(recipes) > 1:
        found = track.session(recipes, options.runs, options.track)
        about = {"machine": device.kind_label(), "date": str(date.today()), "torch": torch.__version__}
        for name, runs in found.items():
            if name != track.BASELINE or options.start:
                record = rules.Record(name, options.track, runs=runs, baseline=found[track.BASELINE], **about)
                print(f"{name}: mean loss {record.loss:.4f}, p = {record.p:.2g}")
                if options.only_try:
                    print(table([record]))
                else:
                    rules.add(record)
    print(table(rules.read()))


if __name__ == "__main__":
    main()
