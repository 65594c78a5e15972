# replaces: detector.py
# method: means and squares over the last 4 to 64 rows, from running totals in a deque
from collections import deque

import numpy as np

WINDOWS = (4, 8, 16, 32, 64)


def scores(mean, square, w):
    """Likelihood ratios of the last w rows, by feature, and of all features together."""
    centre = w * mean**2
    spread = w / 2 * (square - 1 - np.log(np.maximum(square, 1e-3)))
    return [centre.max(-1), centre.sum(-1), spread.max(-1)]


class Detector:
    def __init__(self, reference, run_length):
        self.mean, self.std = reference.mean(0), reference.std(0)
        z = (reference - self.mean) / self.std
        rows, streams = int(5 * run_length), 500
        chance = np.random.default_rng(1)
        found = np.zeros((3 * len(WINDOWS), streams, rows), dtype=np.float32)
        for first in range(0, streams, 100):
            sample = z[chance.integers(len(z), size=(100, rows))]
            nothing = np.zeros((100, 1, z.shape[1]))
            totals = np.concatenate([nothing, sample.cumsum(1)], axis=1)
            totals2 = np.concatenate([nothing, (sample**2).cumsum(1)], axis=1)
            for j, w in enumerate(WINDOWS):
                mean = (totals[:, w:] - totals[:, :-w]) / w
                square = (totals2[:, w:] - totals2[:, :-w]) / w
                for i, score in enumerate(scores(mean, square, w)):
                    found[3 * j + i, first : first + 100, w - 1 :] = score
        found = np.maximum.accumulate(found, axis=2)
        self.unit = [float(np.quantile(one[:, int(3 * run_length)], 0.5)) for one in found]
        largest = np.max([one / unit for one, unit in zip(found, self.unit, strict=True)], axis=0)
        tries = np.linspace(0.5, 2.0, 301)
        means = [np.minimum((largest <= h).sum(1) + 1, rows).mean() for h in tries]
        self.threshold = tries[np.searchsorted(means, run_length)]
        self.reset()

    def reset(self):
        self.past = deque([(np.zeros(len(self.mean)), np.zeros(len(self.mean)))], maxlen=max(WINDOWS) + 1)

    def update(self, row):
        z = (row - self.mean) / self.std
        total, total2 = self.past[-1]
        total, total2 = total + z, total2 + z * z
        self.past.append((total, total2))
        for j, w in enumerate(WINDOWS):
            if len(self.past) <= w:
                break
            old, old2 = self.past[-1 - w]
            for i, score in enumerate(scores((total - old) / w, (total2 - old2) / w, w)):
                if score > self.threshold * self.unit[3 * j + i]:
                    return True
        return False
