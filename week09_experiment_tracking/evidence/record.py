"""Run every test of the pool on every mutant and every real bug, and keep who failed. Some minutes.

python -m week09_experiment_tracking.evidence.record
"""

import json
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch

from effdl import device
from week09_experiment_tracking.evidence import trial
from week09_experiment_tracking.evidence.mutate import Mutant, mutants
from week09_experiment_tracking.evidence.pool import POOL

RESULT = Path(__file__).with_name("kills.json")
BUGS = Path(__file__).with_name("bugs.toml")


def bugs() -> dict[str, dict]:
    """The real bugs: {name: {"thread", "what", "edits"}}."""
    return tomllib.loads(BUGS.read_text(encoding="utf-8"))


def with_bug(edits: list[list[str]], source: str | None = None) -> str:
    """The kit with edits made. Raises ValueError where an old text does not occur exactly once."""
    source = trial.KIT.read_text(encoding="utf-8") if source is None else source
    for old, new in edits:
        if source.count(old) != 1:
            raise ValueError(f"{old!r} occurs {source.count(old)} times in the kit; an edit needs one place")
        source = source.replace(old, new)
    return source


@dataclass(frozen=True)
class Kills:
    """Who failed where. Rows are tests; `of_mutants` and `of_bugs` are True where the test failed."""

    tests: list[str]
    styles: list[str]
    mutants: list[Mutant]
    bugs: list[str]
    of_mutants: np.ndarray
    of_bugs: np.ndarray

    def of_style(self, *styles: str) -> np.ndarray:
        """The numbers of the tests of these styles."""
        return np.array([i for i, style in enumerate(self.styles) if style in styles])


def main() -> None:
    """Measure, and write RESULT."""
    source = trial.KIT.read_text(encoding="utf-8")
    kits = {"original": source}
    kits |= {str(mutant.number): mutant.source for mutant in mutants(source)}
    kits |= {name: with_bug(bug["edits"]) for name, bug in bugs().items()}
    found = trial.outcomes(kits)
    names = [test.name for test in POOL]
    wrong = [name for name in names if found["original"][name][0]]
    if wrong:
        raise SystemExit(f"these tests fail on the kit as it is: {', '.join(wrong)}")
    result = {
        "tests": names,
        "failed": {
            kit: "".join("01"[found[kit][name][0]] for name in names) for kit in kits if kit != "original"
        },
        "machine": device.kind_label(),
        "date": str(date.today()),
        "torch": torch.__version__,
    }
    RESULT.write_text(json.dumps(result, indent=0) + "\n", encoding="utf-8")


def recorded() -> Kills:
    """The recorded run. Raises ValueError if kit, bugs or tests are no longer those that it was made with."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    known = {test.name: test.style for test in POOL}
    all_mutants = mutants(trial.KIT.read_text(encoding="utf-8"))
    expected = [str(mutant.number) for mutant in all_mutants] + list(bugs())
    if result["tests"] != list(known) or list(result["failed"]) != expected:
        raise ValueError("the kit, its bugs or its tests changed: run python -m ...evidence.record again")
    failed = np.array([[letter == "1" for letter in row] for row in result["failed"].values()]).T
    return Kills(
        list(known),
        list(known.values()),
        all_mutants,
        list(bugs()),
        failed[:, : len(all_mutants)],
        failed[:, len(all_mutants) :],
    )


if __name__ == "__main__":
    main()
