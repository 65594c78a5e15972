# replaces: detector.py
# method: cumulative sums for means, deviations and all features together; one threshold by simulation
import numpy as np
from scipy.stats import norm


class Detector:
    def __init__(self, reference, run_length):
        self.sorted = np.sort(reference, axis=0)
        n = len(reference)
        table = norm.ppf((np.arange(n + 1) + 0.5) / (n + 1))
        self.table = table
        z = np.stack([self.normal(row) for row in reference])
        values, vectors = np.linalg.eigh(np.cov(z.T))
        self.white = vectors / np.sqrt(values)
        chance = np.random.default_rng(0)
        streams, rows = 400, int(6 * run_length)
        self.scale = 1.0
        sums, peak = 0.0, 0.0
        history = []
        for _ in range(rows):
            sums = self.advance(sums, z[chance.integers(n, size=streams)])
            peak = np.maximum(peak, sums)
            history.append(peak.astype(np.float32))
        history = np.stack(history)
        self.scale = np.median(history[int(2 * run_length)], axis=0)
        largest = (history / self.scale).max(2)
        low, high = 0.0, float(largest.max())
        for _ in range(30):
            self.threshold = (low + high) / 2
            if np.minimum((largest <= self.threshold).sum(0) + 1, rows).mean() < run_length:
                low = self.threshold
            else:
                high = self.threshold
        self.reset()

    def normal(self, row):
        return self.table[[np.searchsorted(column, x) for column, x in zip(self.sorted.T, row, strict=True)]]

    def advance(self, sums, z):
        square = np.minimum(z * z, 16)
        steps = [z - 0.5, -z - 0.5]
        for s in (2.0, 0.25):
            steps.append(square / 2 * (1 - 1 / s**2) - np.log(s))
        white = z @ self.white
        total = z.sum(-1, keepdims=True) / 3.8
        both = np.concatenate([total, white], axis=-1)
        steps += [both - 0.3, -both - 0.3]
        return np.maximum(0, sums + np.concatenate(steps, axis=-1))

    def reset(self):
        self.sums = 0.0

    def update(self, row):
        self.sums = self.advance(self.sums, self.normal(row))
        return bool((self.sums / self.scale).max() > self.threshold)
