"""Fit the alpha-beta model to measured all-reduces, and ask it for times that it has not seen."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from week03_data_parallel import schedules


@dataclass(frozen=True)
class Model:
    """`alpha` seconds per message, `beta` seconds per byte, `lanes` messages that the machine moves at once."""

    alpha: float
    beta: float
    lanes: float

    def predict(self, name: str, ranks: int, nbytes: float) -> float:
        """Seconds of an all-reduce of `nbytes` by a flat schedule."""
        return schedules.cost(schedules.FLAT[name](ranks), nbytes, self.alpha, self.beta, self.lanes)

    def crossover(self, first: str, second: str, ranks: int, low: float = 64, high: float = 2**34) -> float:
        """Bytes from which on `second` is the faster, by bisection; inf if it is not at `high` bytes."""
        if self.predict(first, ranks, high) < self.predict(second, ranks, high):
            return float("inf")
        while high / low > 1.001:
            middle = (low * high) ** 0.5
            if self.predict(first, ranks, middle) < self.predict(second, ranks, middle):
                low = middle
            else:
                high = middle
        return high


def fit(measured: dict[tuple[str, int, int], float], lanes: float) -> Model:
    """The model whose predictions are nearest to `measured`, {(name, ranks, bytes): seconds}, in mean |log ratio|."""
    cases = [
        (schedules.FLAT[name](ranks), nbytes, seconds) for (name, ranks, nbytes), seconds in measured.items()
    ]

    def loss(logs):
        alpha, beta = np.exp(logs)
        return np.mean([abs(np.log(schedules.cost(s, b, alpha, beta, lanes) / t)) for s, b, t in cases])

    starts = [(np.log(1e-4 * k), np.log(1e-9)) for k in (0.3, 3, 30)]
    best = min((minimize(loss, start, method="Nelder-Mead") for start in starts), key=lambda found: found.fun)
    return Model(*np.exp(best.x), lanes)


def typical_error(model: Model, measured: dict[tuple[str, int, int], float]) -> float:
    """By which factor a prediction is typically off: the exponential of the median |log ratio|."""
    logs = [abs(np.log(model.predict(*case) / seconds)) for case, seconds in measured.items()]
    return float(np.exp(np.median(logs)))


def measured_crossover(times: dict[int, tuple[float, float]]) -> float:
    """Bytes from which on the second is faster, from {bytes: (first, second)} seconds.

    Between the two measured sizes where the sign of the log ratio changes, on a straight line; inf if it never does.
    """
    sizes = sorted(times)
    gaps = [np.log(times[nbytes][0] / times[nbytes][1]) for nbytes in sizes]
    for (small, before), (large, after) in itertools.pairwise(zip(sizes, gaps, strict=True)):
        if before < 0 <= after:
            return float(small * (large / small) ** (before / (before - after)))
    return float("inf") if gaps[0] < 0 else 0.0
