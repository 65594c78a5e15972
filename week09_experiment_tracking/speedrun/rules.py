"""What makes a record: statistics of runs, the list, and its validator."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from week09_experiment_tracking.speedrun.track import TARGET, Run

RECORDS = Path(__file__).with_name("records.json")
TRACKS = ("cpu", "cuda")
RUNS, LEVEL = 20, 0.01


@dataclass(frozen=True)
class Record:
    """One entry: who, where, with which runs, and the baseline's runs of the same session."""

    name: str
    track: str
    machine: str
    date: str
    torch: str
    runs: list[Run]
    baseline: list[Run]

    @property
    def loss(self) -> float:
        """Mean validation loss."""
        return float(np.mean([run.loss for run in self.runs]))

    @property
    def p(self) -> float:
        """Probability of so low a mean of so many losses, if the true mean were at the target."""
        return p_value([run.loss for run in self.runs])

    def seconds(self) -> tuple[float, float, float]:
        """Mean time and its 95 % interval."""
        return interval([run.seconds for run in self.runs])

    def ratio(self) -> tuple[float, float, float]:
        """Time over the baseline's, with a 95 % interval: run by run, for they took turns."""
        pairs = zip(self.runs, self.baseline, strict=True)
        mean, low, high = interval([math.log(run.seconds / other.seconds) for run, other in pairs])
        return math.exp(mean), math.exp(low), math.exp(high)

    def faults(self) -> list[str]:
        """Which rules the record breaks, in words; none for a valid one."""
        found = []
        if self.track not in TRACKS:
            found.append(f"track {self.track!r} is none of {', '.join(TRACKS)}")
        if len(self.runs) < RUNS or len(self.baseline) != len(self.runs):
            found.append(
                f"{len(self.runs)} runs beside {len(self.baseline)} of the baseline: {RUNS} each at least"
            )
        if len({run.seed for run in self.runs}) < len(self.runs):
            found.append("a seed occurs twice")
        if any(run.seconds <= 0 or not math.isfinite(run.loss) for run in [*self.runs, *self.baseline]):
            found.append("a run has no time or no finite loss")
        elif len(self.runs) >= 2 and not self.p < LEVEL:
            found.append(f"mean loss {self.loss:.4f} against {TARGET}: p = {self.p:.3g}, not below {LEVEL}")
        return found


def p_value(losses: Sequence[float], target: float = TARGET) -> float:
    """One-sided t-test that the mean is below the target."""
    if len(set(losses)) == 1:
        return 0.0 if losses[0] < target else 1.0
    return float(stats.ttest_1samp(losses, target, alternative="less").pvalue)


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean, and its interval by Student's t."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
    reach = float(stats.t.isf((1 - level) / 2, len(values) - 1)) * error
    return mean, mean - reach, mean + reach


def read(path: Path = RECORDS) -> list[Record]:
    """All entries of a list. Raises ValueError, naming entry and fault, where one is not valid."""
    found = []
    for entry in json.loads(path.read_text(encoding="utf-8"))["records"]:
        runs = {key: [Run(*run) for run in entry[key]] for key in ("runs", "baseline")}
        record = Record(**{**entry, **runs})
        if faults := record.faults():
            raise ValueError(f"{path.name}, {record.name!r}: {'; '.join(faults)}")
        found.append(record)
    return sorted(found, key=lambda record: (record.track, record.ratio()[0]))


def add(record: Record, path: Path = RECORDS) -> None:
    """Put a valid record into the list, in the place of one with its name and track. Raises ValueError for others."""
    if faults := record.faults():
        raise ValueError(f"{record.name!r} is no record: {'; '.join(faults)}")
    kept = [old for old in read(path) if (old.name, old.track) != (record.name, record.track)]
    entries = [asdict(entry) for entry in [*kept, record]]
    for entry in entries:
        for key in ("runs", "baseline"):
            entry[key] = [
                [run["seed"], round(run["loss"], 5), round(run["seconds"], 4)] for run in entry[key]
            ]
    text = json.dumps({"records": entries}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
