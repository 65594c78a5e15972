"""A detector of your own: as quick as you can make it, at a stated average run length."""

import numpy as np

### BEGIN SOLUTION
SLACK = 0.35


def _steps(scaled):
    """Return what the sums take up in a row, [..., 4F]: values and their spread, upwards and downwards."""
    spread = np.minimum(np.abs(scaled), 3) - 0.8
    return np.concatenate([scaled, -scaled, 1.3 * spread, -1.3 * spread], axis=-1) - SLACK


### END SOLUTION
class Detector:
    """Gives an alarm when the rows do not look like the reference any more.

    `reference` [n, F] float64: rows without drift, independent of each other. `run_length`: rows between two false
    alarms, on average.
    """

    def __init__(self, reference: np.ndarray, run_length: float):
        ### BEGIN SOLUTION
        self.mean, self.std = reference.mean(0), reference.std(0)
        steps = _steps((reference - self.mean) / self.std)
        chance, streams = np.random.default_rng(0), 500

        def peaks(rows, scale):
            sums = np.zeros((streams, steps.shape[1]))
            for _ in range(rows):
                sums = np.maximum(0, sums + steps[chance.integers(0, len(steps), streams)])
                yield sums / scale

        # Each sum gets a scale of its own, so that no feature gives most of the false alarms.
        self.scale = np.median(np.maximum.reduce(list(peaks(int(run_length), 1.0))), axis=0)
        largest = np.maximum.accumulate([each.max(1) for each in peaks(int(6 * run_length), self.scale)])
        under, over = 0.0, float(largest[-1].max())
        for _ in range(40):
            threshold = (under + over) / 2
            if np.minimum((largest <= threshold).sum(0) + 1, len(largest)).mean() < run_length:
                under = threshold
            else:
                over = threshold
        self.threshold = over
        self.reset()
        ### END SOLUTION

    def reset(self) -> None:
        """Forget all rows: the next one begins a stream."""
        ### BEGIN SOLUTION
        self.sums = np.zeros(4 * len(self.mean))
        ### END SOLUTION

    def update(self, row: np.ndarray) -> bool:
        """Take the next row [F] and return whether there is an alarm now."""
        ### BEGIN SOLUTION
        self.sums = np.maximum(0, self.sums + _steps((row - self.mean) / self.std))
        return bool((self.sums / self.scale).max() > self.threshold)
        ### END SOLUTION
