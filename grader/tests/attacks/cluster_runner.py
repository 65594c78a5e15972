"""Runs a sample of the attacks on parts in tasks of an emulated Slurm cluster, each in a job of its own.

    python -m grader.tests.attacks.cluster_runner [--count 50]

The stage is that of `part_runner`: canaries, a victim and a neighbour on the same machine. An attack is examined on a
node, by the command that a class is graded with, and its report comes back sealed. What is not heard here is the
sockets of the examiner in the task: a canary counts as learnt where it stands in the report, or where a listener was
reached. The exit code is 1 where one gained a point, learnt something, harmed somebody, or lost what it deserved.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from grader.bench.cluster import Cluster, missing
from grader.book.keys import check_digests, environment_digest
from grader.course import Part
from grader.examine.examiner import Examiner, checks_of
from grader.examine.report import Report
from grader.runners.slurm import queue
from grader.runners.slurm.queue import EXAMINER, Wanted
from grader.runners.slurm.rounds import Answer, Asked, Keys
from grader.sandbox.packed import Packed
from grader.slurm_settings import Slurm
from grader.tests.attacks import corpus, part_runner
from grader.tests.attacks.corpus import Attack, Outcome

PATIENCE = 600.0  # seconds that one job may take
GRACE = 15.0  # seconds until what a job has written must be here when Slurm says that it has ended


class OnCluster:
    """An examiner that lets a job examine what a student hands in, and does all else here."""

    def __init__(self, here: Examiner, folder: Path):
        self.place, self._here, self._keys = here.place, here, Keys(folder)

    def examine(
        self,
        part: Part,
        folder: Path,
        *,
        items: Iterable[str] | None = None,
        names: Iterable[str] | None = None,
    ) -> Report:
        """Return the report of a task on `folder`; of the honest neighbour, the report of the examiner here."""
        if folder.name == "neighbour":
            return self._here.examine(part, folder, items=items, names=names)
        wanted = [check.name for check in checks_of(part) if items is None or check.item in items]
        packed = Packed(folder, part.files)
        packed.close()
        common: dict[str, Any] = {
            "course": str(part.source.parents[1]),
            "assignment": part.assignment,
            "isolation": "namespaces",
            "environment": environment_digest(),
            "notebooks": [part.notebook],
            "checks": {part.notebook: check_digests(part)},
        }
        asked = Asked(folder.name, str(folder), packed.digest, {part.notebook: wanted})
        made = self._keys.begin([[asked]], common)
        command = [sys.executable, "-m", "grader.runners.slurm.task", str(made.folder)]
        queue.submit(made.job, command, 1, Wanted(Slurm(cpus=2), EXAMINER + part.memory), made.folder)
        end, over = time.monotonic() + PATIENCE, 0.0
        try:
            while time.monotonic() < end:
                for _, _, answer in made.news():
                    if not isinstance(answer, Answer):
                        raise answer
                    while queue.states([made.job])[
                        made.job, 0
                    ].alive:  # what it leaves behind is looked for next
                        time.sleep(0.1)
                    return Report.from_json(json.dumps(answer.reports[part.notebook]))
                if (ended := made.tasks[0].ended) and ended.trouble:
                    raise RuntimeError(ended.trouble)
                state = queue.states([made.job]).get((made.job, 0))
                over = 0.0 if not state or state.alive else over or time.monotonic()
                if over and time.monotonic() - over > GRACE:
                    raise RuntimeError(f"the task ended ({state}): {made.printed(made.tasks[0])}")
                time.sleep(0.1)
            raise RuntimeError(f"no report within {PATIENCE:.0f} s; {made.printed(made.tasks[0])}")
        finally:
            made.delete()


def run(attacks: list[Attack], console: Console) -> list[Outcome]:
    """Run the attacks one after the other, each in a job."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster(Path(folder) / "cluster"),
        Examiner("namespaces") as here,
    ):
        there: Any = OnCluster(here, Path(folder) / "slurm")
        tell = lambda found, _: console.print(_line(found), highlight=False)  # noqa: E731
        return part_runner.run(attacks, examiner=there, progress=tell)


def _line(found: Outcome) -> str:
    told = "held" if found.held else f"NOT HELD: {found.leaked} {found.harm}"
    return f"{found.attack.name}: earned {found.earned:g}, deserved {found.deserved:g}, {told}"


def main() -> None:
    """Run a sample, and say how many held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50)
    options = parser.parse_args()
    if told := missing():
        sys.exit(told)
    console = Console()
    every = corpus.load("parts")
    count = min(options.count, len(every))
    attacks = [every[index * len(every) // count] for index in range(count)]
    outcomes = run(attacks, console)
    held = sum(outcome.held for outcome in outcomes)
    console.print(f"{held} of {len(outcomes)} attacks gained nothing, in tasks of a Slurm cluster.")
    sys.exit(0 if held == len(outcomes) else 1)


if __name__ == "__main__":
    main()
