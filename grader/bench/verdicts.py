"""How often a verdict on speed is wrong: `python -m grader.bench.verdicts [--trials N] [--json FILE]`.

Submissions whose true speed is known (the reference's own loop, run fewer times) are judged against a threshold of
1.2, on this machine as it is and beside programs that keep all its cores busy. All protocols see the same workers
within seconds: the grader's own pairs; the reference's time stored before; a block of runs of the reference, then
one of the submission, by wall time and by processor time. The others get as many runs as the pairs took.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from grader.checks import expect_close
from grader.examine.compare import LOOKS, Contender, pairs
from grader.examine.examiner import Examiner
from grader.examine.rng import Rng
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed

THRESHOLD = 1.2
RATIOS = (1.0, 1.1, 1.3)
STEPS = 75  # of the reference, 4 to 5 ms on one core
SOURCE = """
import torch
def work(x):
    out = torch.empty_like(x)
    for _ in range({steps}):
        torch.exp(x, out=out)
        torch.tanh(out, out=out)
    return out
"""
# Bursts of work and of rest, as neighbours on a shared machine have them.
NEIGHBOUR = """
import random, time
while True:
    end = time.monotonic() + random.uniform(0.02, 0.4)
    while time.monotonic() < end:
        sum(range(10000))
    time.sleep(random.uniform(0.0, 0.2))
"""
PROTOCOLS = ("pairs", "stored time", "blocks", "blocks, cpu")


class Bench:
    """Workers of one reference and of submissions with known speed, and the reference's time on the idle machine."""

    def __init__(self, examiner: Examiner, folder: Path):
        self._place = examiner.place
        self._rng = Rng(int.from_bytes(os.urandom(4), "little"), "verdicts")
        self._packed = {ratio: self._pack(folder / str(ratio), round(STEPS / ratio)) for ratio in RATIOS}
        with contextlib.closing(self._runner(1.0)) as runner:
            self.stored, _ = self._block(runner, 60)

    def trial(self, ratio: float) -> tuple[dict[str, bool | None], int]:
        """Return what each protocol says about a submission `ratio` times as fast, and how many pairs it took."""
        with (
            contextlib.closing(self._runner(1.0)) as reference,
            contextlib.closing(self._runner(ratio)) as submission,
        ):
            found, _ = pairs(
                *(reference, submission, self._inputs, self._verify),
                cpus=1,
                decided=lambda found: found.verdict(THRESHOLD)[0] is not None,
                warmup=2,
                wall=30,
                deadline=time.perf_counter() + 600,
            )
            count, verdict = len(found.reference), found.verdict(THRESHOLD)[0]
            theirs, their_cpu = self._block(reference, count)
            mine, my_cpu = self._block(submission, count)
        return {
            PROTOCOLS[0]: verdict,
            PROTOCOLS[1]: self.stored / mine >= THRESHOLD,
            PROTOCOLS[2]: theirs / mine >= THRESHOLD,
            PROTOCOLS[3]: their_cpu / my_cpu >= THRESHOLD,
        }, count

    def _pack(self, folder: Path, steps: int) -> Packed:
        folder.mkdir()
        (folder / "work.py").write_text(SOURCE.format(steps=steps))
        return Packed(folder, ["work.py"])

    def _runner(self, ratio: float) -> Contender:
        order = {"target": "work:work", "driver": None, "world": 1, "group": False}
        limits = Limits(memory=1 << 30, cpus=1)
        return Contender(self._place, self._packed[ratio], limits, order, _answer, time.perf_counter() + 60)

    def _inputs(self) -> list:
        return [self._rng.normal((self._rng.integers(14_000, 18_000),))]

    def _block(self, runner: Contender, count: int) -> tuple[float, float]:
        taken = [runner.call(self._inputs(), time.perf_counter() + 30)[1] for _ in range(count)]
        return statistics.median(one.wall for one in taken), statistics.median(one.cpu for one in taken)

    @staticmethod
    def _verify(mine, reference) -> None:
        expect_close(mine, reference, atol=1e-6, why="the same operations")


def _answer(job, key: str, deadline: float):
    if not job.wait(lambda: bool(job.inbox[0] or job.closed[0]), deadline) or key not in job.inbox[0][0]:
        raise RuntimeError(f"a worker did not answer: {job.closed[0] or job.inbox[0]}")
    return job.inbox[0].pop(0)[key]


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keep `count` busy processes running."""
    running = [subprocess.Popen([sys.executable, "-c", NEIGHBOUR]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    """Measure, print, and write the counts where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200, help="per true ratio and state of the machine")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    options = parser.parse_args()
    busy = 2 * len(os.sched_getaffinity(0))
    begin, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder, Examiner("namespaces") as examiner:
        bench = Bench(examiner, Path(folder))
        for state, count in (("as it is", 0), ("busy", busy)):
            for ratio in RATIOS:
                said = {protocol: Counter() for protocol in PROTOCOLS}
                taken = []
                with neighbours(count):
                    for _ in track(range(options.trials), f"{state}, true ratio {ratio}", transient=True):
                        verdicts, number = bench.trial(ratio)
                        taken.append(number)
                        for protocol, passed in verdicts.items():
                            said[protocol][
                                "undecided"
                                if passed is None
                                else "right"
                                if passed == (ratio > THRESHOLD)
                                else "wrong"
                            ] += 1
                rows += [
                    {"machine": state, "ratio": ratio, "protocol": protocol, **said[protocol]}
                    | {"pairs": statistics.median(taken)}
                    for protocol in PROTOCOLS
                ]
    _show(rows, options.trials, time.perf_counter() - begin)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({"threshold": THRESHOLD, "trials": options.trials, "rows": rows}, indent=1)
        )


def _show(rows: list[dict], trials: int, seconds: float) -> None:
    table = Table("machine", "true ratio", "protocol", "wrong", "undecided", "right", "pairs")
    for number, row in enumerate(rows):
        counts = (f"{100 * row.get(word, 0) / trials:.1f} %" for word in ("wrong", "undecided", "right"))
        last = number % len(PROTOCOLS) == len(PROTOCOLS) - 1
        table.add_row(
            row["machine"], f"{row['ratio']}", row["protocol"], *counts, f"{row['pairs']:g}", end_section=last
        )
    console = Console()
    console.print(table)
    console.print(
        f"{trials} trials a row, threshold {THRESHOLD}, at most {LOOKS[-1]} pairs (median shown). Busy: beside "
        f"{2 * len(os.sched_getaffinity(0))} programs that work most of the time. {seconds / 60:.1f} min.",
        highlight=False,
    )


if __name__ == "__main__":
    main()
