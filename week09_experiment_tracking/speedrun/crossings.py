"""Time to accuracy as a random number: when the baseline first gets below the target, over many seeds.

DAWNBench and MLPerf stop a run when a validation says that the target is reached. Here the baseline trains on, with a
validation every ten updates that is not on the clock, and the first one below the target is noted.
"""

import json
from pathlib import Path

import numpy as np
import torch

from week09_experiment_tracking.speedrun.track import TARGET, adam, data, validation_loss

RESULT = Path(__file__).with_name("crossings.json")
EVERY, UPDATES, SEEDS = 10, 260, 30


def measure(seeds: int = SEEDS, updates: int = UPDATES, first: int = 1000) -> dict:
    """Validation losses of the baseline every ten updates, for many seeds."""
    inputs, targets, judges, answers = data()
    half = len(judges) // 2
    curves = []
    for seed in range(first, first + seeds):
        curve = []

        def look(update, model, curve=curve):
            if (update + 1) % EVERY == 0:
                parts = (judges[:half], answers[:half]), (judges[half:], answers[half:])
                curve.append([round(validation_loss(model, *part), 4) for part in parts])
                model.train()

        adam(inputs, targets, seed, updates, after=look)
        curves.append(curve)
    return {"curves": curves, "torch": torch.__version__}


def first_below(losses: np.ndarray, target: float = TARGET) -> np.ndarray:
    """(seeds, times) to the number of updates of the first loss at or below the target; NaN where there is none."""
    below = losses <= target
    return np.where(below.any(1), (below.argmax(1) + 1.0) * EVERY, np.nan)


def main() -> None:
    """Measure, and write RESULT: `python -m week09_experiment_tracking.speedrun.crossings`."""
    torch.set_num_threads(1)
    RESULT.write_text(json.dumps(measure()) + "\n", encoding="utf-8")


def recorded() -> np.ndarray:
    """The recorded curves, (seeds, times, halves of the validation set)."""
    return np.array(json.loads(RESULT.read_text(encoding="utf-8"))["curves"])


def mlperf(times: np.ndarray) -> float:
    """MLPerf's score of a set of runs: without the fastest and the slowest, the mean."""
    return float(np.sort(times)[1:-1].mean())


if __name__ == "__main__":
    main()
