"""Monitors of a stream that state how often they are wrong: the average run length where nothing drifts.

The **average run length** is the mean number of rows between two false alarms. One number for the whole monitor,
however many features it watches: each feature gets its share of the rate of false alarms (Bonferroni). Two monitors
with one interface:

    monitor = Cusum(reference, run_length=100_000)      # or Windows(...)
    for alarm in monitor.update(rows):                  # rows: (any number, features); alarms: usually none
        print(alarm.row, alarm.feature, alarm.level)
    monitor.levels()                                    # {feature: statistic over its limit}, for a gauge

:class:`Cusum` follows the means and soon sees a small shift that lasts. :class:`Windows` compares whole
distributions, window by window, with the two-sample test of Kolmogorov and Smirnov. Labels need no monitor of their
own: a model's errors, 0 or 1, are a stream with one feature.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

OVERSHOOT = 1.166
"""Siegmund's correction: by how much, in standard deviations, a cumulative sum jumps over both its barriers."""


@dataclass(frozen=True)
class Alarm:
    """A feature left its limits. ``row`` counts the rows seen so far; ``level`` is statistic over limit, above 1."""

    row: int
    feature: str
    level: float


class Monitor:
    """What both monitors share: names, rows that wait for a whole batch, the number of rows seen.

    Args:
        reference: (rows, features), what the stream looks like when all is well.
        run_length: mean number of rows between false alarms that you accept, for all features together.
        size: rows of one step: a batch of Cusum, a window of Windows.
        names: of the features; "0", "1", ... without.

    Raises ValueError for a reference with fewer than ten steps of rows, with NaNs, or a run length under one step.
    """

    def __init__(
        self,
        reference: np.ndarray,
        run_length: float,
        size: int,
        names: Sequence[str] | None = None,
    ):
        reference = np.asarray(reference, float)
        reference = reference[:, None] if reference.ndim == 1 else reference
        if len(reference) < 10 * size or not np.isfinite(reference).all():
            raise ValueError(
                f"the reference has {len(reference)} rows; give at least {10 * size} "
                f"(ten steps of {size}), all finite"
            )
        if run_length < 2 * size:
            raise ValueError(
                f"run_length={run_length} is under two steps of {size} rows: it would always alarm"
            )
        self.names = [str(i) for i in range(reference.shape[1])] if names is None else list(names)
        if len(self.names) != reference.shape[1]:
            raise ValueError(f"{len(self.names)} names for {reference.shape[1]} features")
        self.reference, self.run_length, self.size, self.rows = reference, run_length, size, 0
        self._waiting = np.empty((0, len(self.names)))

    def update(self, rows: np.ndarray) -> list[Alarm]:
        """Take rows (any number, features), or one row, and return the alarms that they raise, in order.

        After an alarm the monitor begins anew with the same reference. Rows that fill no step wait for the next call.
        """
        rows = np.asarray(rows, float).reshape(-1, len(self.names))
        rows = np.concatenate([self._waiting, rows])
        steps = len(rows) // self.size
        self._waiting = rows[steps * self.size :]
        return self._steps(rows[: steps * self.size].reshape(steps, self.size, -1)) if steps else []

    def levels(self) -> dict[str, float]:
        """Each feature's statistic over its limit after the last whole step; an alarm has just been above 1."""
        return dict(zip(self.names, map(float, self._levels), strict=True))

    def _steps(self, steps: np.ndarray) -> list[Alarm]:
        raise NotImplementedError

    def _alarms(self, levels: np.ndarray) -> list[Alarm]:
        """The alarms of one step; every feature above its limit raises one."""
        return [Alarm(self.rows, self.names[i], float(levels[i])) for i in np.flatnonzero(levels > 1)]


class Cusum(Monitor):
    """Cumulative sums of the means of batches, both ways, for each feature (Page, *Biometrika*, 1954).

    Each batch's mean is put in units of its standard deviation, z. The sum ``up = max(0, up + z - slack)`` grows
    while the mean is above the reference's by more than the slack, and else falls back to zero; ``down`` likewise.

    Args:
        slack: half of the shift that shall be found soonest, in standard deviations of a batch's mean.
    """

    def __init__(self, reference, run_length, size=50, names=None, slack=0.5):
        super().__init__(reference, run_length, size, names)
        self.mean, self.scale = self.reference.mean(0), self.reference.std(0, ddof=1) / math.sqrt(size)
        if not self.scale.all():
            raise ValueError(
                "a feature of the reference never changes, so that any change of it would be infinite"
            )
        self.slack = slack
        each = run_length / size * len(self.names)
        self.limit = cusum_limit(each, slack, math.sqrt(size / len(self.reference)))
        self._sums = np.zeros((2, len(self.names)))
        self._levels = np.zeros(len(self.names))

    def _steps(self, steps):
        found = []
        for z in (steps.mean(1) - self.mean) / self.scale:
            self.rows += self.size
            self._sums = np.maximum(0, self._sums + np.stack([z, -z]) - self.slack)
            self._levels = self._sums.max(0) / self.limit
            if (self._levels > 1).any():
                found += self._alarms(self._levels)
                self._sums[:] = 0
        return found


def cusum_limit(run_length: float, slack: float, unsure: float = 0.0) -> float:
    """The limit at which a two-sided cumulative sum has this average run length, in steps, where nothing drifts.

    Siegmund's approximation for one side (*Sequential Analysis*, 1985): with drift d = slack and b = limit + 1.166,
    (exp(2 d b) - 2 d b - 1) / (2 d²). ``unsure`` is the standard deviation of the reference's own mean, in the units
    of z. It shifts every step alike; so the rate of false alarms is averaged over what it may be.
    """
    if run_length <= 2 or slack <= 0:
        raise ValueError(
            f"run_length={run_length} and slack={slack}: more than two steps, and a positive slack"
        )
    points, weights = np.polynomial.hermite_e.hermegauss(31)
    weights = weights / weights.sum()

    def rate(limit: float) -> float:
        drift = np.where(abs(slack - unsure * points) < 1e-6, 1e-6, slack - unsure * points)
        b = 2 * drift * (limit + OVERSHOOT)
        lengths = (np.exp(np.minimum(b, 700)) - b - 1) / (2 * drift**2)
        return float(2 * (weights / lengths).sum())

    return optimize.brentq(lambda limit: math.log(rate(limit) * run_length), 1e-3, 1e3)


class Windows(Monitor):
    """The two-sample test of Kolmogorov and Smirnov, each window against the reference, for each feature.

    The limit of the largest distance is that of the level ``size / run_length / features``: windows that do not
    overlap are tests of their own, so that steps until a false alarm are geometric with this rate.
    """

    def __init__(self, reference, run_length, size=200, names=None):
        super().__init__(reference, run_length, size, names)
        self.sorted = np.sort(self.reference, axis=0)
        level = size / run_length / len(self.names)
        rows = len(self.reference)
        self.limit = float(stats.kstwo.isf(level, max(round(rows * size / (rows + size)), 1)))
        self._levels = np.zeros(len(self.names))

    def distances(self, windows: np.ndarray) -> np.ndarray:
        """(steps, size, features) to the largest distance of the two distribution functions, (steps, features)."""
        steps, size, features = windows.shape
        rows, ends = len(self.sorted), np.arange(1, size + 1)[:, None] / size
        below, upto = np.empty_like(windows), np.empty_like(windows)
        for i in range(features):
            flat = windows[:, :, i].ravel()
            below[:, :, i] = np.searchsorted(self.sorted[:, i], flat, "left").reshape(steps, size) / rows
            upto[:, :, i] = np.searchsorted(self.sorted[:, i], flat, "right").reshape(steps, size) / rows
        order = np.sort(windows, axis=1)
        below, upto = np.sort(below, axis=1), np.sort(upto, axis=1)
        # At a value that occurs several times only its last place in the window counts, and its first.
        last = np.concatenate([order[:, 1:] != order[:, :-1], np.ones((steps, 1, features), bool)], axis=1)
        first = np.concatenate([np.ones((steps, 1, features), bool), last[:, :-1]], axis=1)
        above = np.where(last, ends - upto, 0).max(1)
        return np.maximum(above, np.where(first, below - (ends - 1 / size), 0).max(1))

    def _steps(self, steps):
        found = []
        for levels in self.distances(steps) / self.limit:
            self.rows += self.size
            self._levels = levels
            found += self._alarms(levels)
        return found
