"""How often the leaderboard ranks wrongly: `python -m grader.bench.leaderboard [--entries 20] [--more 0.05]`.

Two submissions, of which one does 5 % more work, are measured as entries again and again, each time on its own, as
two students' are: other workers, other inputs, another moment. Then every entry of the one is put beside every entry
of the other. A tie is no error; the slower one above the faster one is. Two entries of the same submission must be a
tie too: who is above then, is above by luck. Entries are few and pairs are many, so the pairs are not independent;
the table says how many entries there were. Last, entries are put together anew, of rounds drawn from all that were
measured of a submission: as many as one likes, but blind to what differs between entries and not between rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from itertools import combinations, pairwise, product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from effdl import device
from grader.book.board import apart
from grader.checks import expect_close
from grader.examine.checks import Check, Undecided, gather
from grader.examine.compare import Interval
from grader.examine.examiner import Examiner
from grader.examine.standing import ROUNDS, Entrant, Standing
from grader.sandbox.packed import Packed

WORK = """
import torch

def solve(x):
    out = x.clone()
    for _ in range({steps}):
        torch.tanh(out, out=out)
        out.mul_(1.5)
    return x
"""
STEPS = 100  # of the faster one; the reference does twice as many, the floor none


def entry(examiner: Examiner, steps: int, folder: Path, seed: int) -> Standing | None:
    """Return what one race of a submission of so many steps came to, None for no result."""
    (folder / "checks").mkdir(exist_ok=True)
    (folder / "work.py").write_text(WORK.format(steps=steps), encoding="utf-8")
    for name, count in {"plain_hidden": 2 * STEPS, "floor_hidden": 0}.items():
        (folder / "checks" / f"{name}.py").write_text(WORK.format(steps=count), encoding="utf-8")
    check = Check(
        "c", "i", 1.0, 120.0, None, "", "", True, "S.", lambda sub: None, floor="floor_hidden:solve"
    )
    packed = Packed(folder, ["work.py"])
    try:
        sub = Entrant(
            *(examiner.place, packed, check),
            driver=None,
            memory=1 << 30,
            seed=seed,
            references=folder / "checks",
        )
        with gather():
            sub.compare(
                "work:solve",
                lambda: [sub.rng.normal((sub.rng.integers(30_000, 34_000),))],
                against="plain_hidden:solve",
                threshold=1.2,
                verify=lambda mine, right: expect_close(mine, right, atol=0, why="the input comes back"),
            )
        return sub.standing
    except Undecided:  # as on the board: no place, until it is raced again
        return None
    finally:
        packed.close()


def main() -> None:
    """Measure, print the table, and write it with `--json` (every entry's interval is in it)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=20, help="of each of the two submissions")
    parser.add_argument(
        "--more", type=float, default=0.05, help="work of the slower one, more than of the faster"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, list[Standing]] = {"fast": [], "slow": []}
    steps = {"fast": STEPS, "slow": round(STEPS * (1 + options.more))}
    started = time.monotonic()
    without = 0
    with Examiner("namespaces") as examiner, tempfile.TemporaryDirectory() as folder:
        for number in track(range(options.entries), "Measuring entries"):
            both = {
                name: entry(examiner, count, Path(folder), 2 * number + (name == "slow"))
                for name, count in steps.items()
            }
            without += list(both.values()).count(None)
            if None not in both.values():
                for name, one in both.items():
                    found[name].append(one)
            if time.monotonic() - started > 60 * options.minutes:
                break
    if len(found["fast"]) < 2:
        sys.exit(
            f"two entries of each are needed ({without} races came to no result); give --entries 2 or more"
        )
    seconds = (time.monotonic() - started) / (2 * len(found["fast"]))
    report(found, steps, seconds, options.json)
    print(f"{without} races came to no result.")


def report(
    found: dict[str, list[Standing]], steps: dict[str, int], seconds: float, path: Path | None
) -> None:
    """Print how pairs of entries were ranked."""
    fast, slow = shares = [[one.share() for one in found[name]] for name in ("fast", "slow")]
    drawn = [[one.share() for one in anew(found[name], seed)] for seed, name in enumerate(("fast", "slow"))]
    result = {
        f"the faster one and the slower one, {len(fast)} pairs measured one after the other": counts(
            zip(fast, slow, strict=True)
        ),
        f"each of {len(fast)} entries of the one with each of the other": counts(product(fast, slow)),
        "two entries of the same submission": counts(
            (pair for entries in shares for pair in combinations(entries, 2)), same=True
        ),
        "entries put together anew": counts(zip(*drawn, strict=True)),
        "two of the same submission put together anew": counts(
            (pair for entries in drawn for pair in pairwise(entries)), same=True
        ),
    }
    table = Table("pairs", "how many", "right", "tie", "wrong", "wrong, %", title=f"On {device.kind_label()}")
    for name, row in result.items():
        every = sum(row.values())
        told = (f"{row[key]:,}" for key in ("right", "tie", "wrong"))
        table.add_row(name, f"{every:,}", *told, f"{100 * row['wrong'] / max(1, every):.2f}")
    console = Console()
    console.print(table)
    widths = sorted(one.high - one.low for entries in shares for one in entries)
    console.print(
        f"{steps['slow'] / steps['fast'] - 1:.1%} more work; {seconds:.1f} s an entry; an interval is "
        f"{widths[len(widths) // 2]:.3f} wide in the median, {widths[-1]:.3f} at most."
    )
    if path:
        rounds = {
            name: [[[one.submission, one.floor] for one in entry.rounds] for entry in some]
            for name, some in found.items()
        }
        path.write_text(json.dumps({"rounds": rounds, "result": result}, indent=1) + "\n", encoding="utf-8")


def counts(pairs: Iterable[tuple[Interval, Interval]], *, same: bool = False) -> dict[str, int]:
    """Return how many pairs, the faster entry first, are ranked right, are a tie, and are ranked wrongly.

    Of the `same` submission a tie is the right answer, and no other is.
    """
    said = Counter(apart(*pair) for pair in pairs)
    if same:
        return {"right": said[0], "tie": 0, "wrong": said[1] + said[-1]}
    return {"right": said[1], "tie": said[0], "wrong": said[-1]}


def anew(found: list[Standing], seed: int, count: int = 5000) -> list[Standing]:
    """Return so many entries of rounds that are drawn from those of all entries of a submission."""
    rounds = [one for entry in found for one in entry.rounds]
    picks = np.random.default_rng(seed).integers(0, len(rounds), (count, ROUNDS))
    return [Standing(found[0].clock, tuple(rounds[pick] for pick in row)) for row in picks]


if __name__ == "__main__":
    main()
