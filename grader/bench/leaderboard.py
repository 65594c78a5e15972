"""How often the leaderboard ranks wrongly: `python -m grader.bench.leaderboard [--entries 20] [--more 0.05]`.

Two submissions, of which one does 5 % more work, are measured as entries again and again, each time on its own, as
two students' are: other workers, other inputs, another moment. Then every entry of the one is put beside every entry
of the other. A tie is no error; the slower one above the faster one is. Two entries of the same submission must be a
tie too: who is above then, is above by luck. Entries are few and pairs are many, so the pairs are not independent;
the table says how many entries there were.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import combinations, product
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from effdl import device
from grader.book.board import apart
from grader.checks import expect_close
from grader.examine.checks import Check, Undecided, gather
from grader.examine.compare import Interval
from grader.examine.examiner import Examiner
from grader.examine.standing import Entrant
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


def entry(examiner: Examiner, steps: int, folder: Path, seed: int) -> Interval | None:
    """Return the share of the gap that a submission of so many steps closes, measured once; None for no result."""
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
        return sub.standing.share()
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
    found: dict[str, list[Interval]] = {"fast": [], "slow": []}
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
    seconds = (time.monotonic() - started) / (2 * len(found["fast"]))
    report(found, steps, seconds, options.json)
    print(f"{without} races came to no result.")


def report(
    found: dict[str, list[Interval]], steps: dict[str, int], seconds: float, path: Path | None
) -> None:
    """Print how pairs of entries were ranked."""
    own = list(zip(found["fast"], found["slow"], strict=True))
    every = list(product(found["fast"], found["slow"]))
    same = [pair for entries in found.values() for pair in combinations(entries, 2)]
    table = Table("pairs", "right", "tie", "wrong", "wrong, %", title=f"On {device.kind_label()}")
    rows = {
        f"the faster one and the slower one, {len(own)} pairs measured one after the other": own,
        f"each of {len(own)} entries of the one with each of the other": every,
    }
    result: dict[str, dict[str, float]] = {}
    for name, pairs in rows.items():
        said = [apart(fast, slow) for fast, slow in pairs]
        right, wrong = said.count(1), said.count(-1)
        result[name] = {"right": right, "tie": said.count(0), "wrong": wrong, "share": wrong / len(said)}
    said = [apart(*pair) for pair in same]
    result["two entries of the same submission"] = {
        "right": said.count(0),
        "tie": said.count(0),
        "wrong": len(said) - said.count(0),
        "share": (len(said) - said.count(0)) / max(1, len(said)),
    }
    for name, row in result.items():
        table.add_row(
            name, *(f"{row[key]:g}" for key in ("right", "tie", "wrong")), f"{100 * row['share']:.2f}"
        )
    console = Console()
    console.print(table)
    widths = sorted(one.high - one.low for entries in found.values() for one in entries)
    console.print(
        f"{steps['slow'] / steps['fast'] - 1:.1%} more work; {seconds:.1f} s an entry; an interval is "
        f"{widths[len(widths) // 2]:.3f} wide in the median, {widths[-1]:.3f} at most."
    )
    if path:
        entries = {name: [[one.ratio, one.low, one.high] for one in some] for name, some in found.items()}
        path.write_text(json.dumps({"entries": entries, "result": result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
