"""Cumulative sums of a stream's deviations, and the threshold that gives them a stated average run length."""

import numpy as np


def statistics(values: np.ndarray, slack: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the upper and the lower cumulative sums of standardised values, [T, F] float64 both (Page 1954).

    With z[t] for row t of `values` [T, F]: up[t] = max(0, up[t-1] + z[t] - slack) and
    down[t] = max(0, down[t-1] - z[t] - slack); before the first row both are 0.
    """
    ### BEGIN SOLUTION
    up, down = np.zeros(values.shape), np.zeros(values.shape)
    high = low = np.zeros(values.shape[1:])
    for row, value in enumerate(values):
        up[row] = high = np.maximum(0, high + value - slack)
        down[row] = low = np.maximum(0, low - value - slack)
    return up, down
    ### END SOLUTION


def calibrate(reference: np.ndarray, slack: float, run_length: float, seed: int = 0) -> float:
    """Return the threshold at which a monitor gives a false alarm every `run_length` rows on average.

    `reference` [n, F] float64 are rows without drift, in their own units. They are independent of each other; the
    features of a row may depend on each other. The monitor standardises each feature by mean and standard deviation
    of the reference, and gives an alarm at the first row where any of the 2F sums is larger than the threshold.
    Rows count from 1.
    """
    ### BEGIN SOLUTION
    chance = np.random.default_rng(seed)
    scaled = (reference - reference.mean(0)) / reference.std(0)
    streams, rows = 800, int(8 * run_length)
    high = low = np.zeros((streams, scaled.shape[1]))
    largest, peak = np.zeros((rows, streams)), np.zeros(streams)
    for row in range(rows):
        drawn = scaled[chance.integers(0, len(scaled), streams)]
        high = np.maximum(0, high + drawn - slack)
        low = np.maximum(0, low - drawn - slack)
        peak = np.maximum(peak, np.maximum(high, low).max(1))
        largest[row] = peak
    under, over = 0.0, float(peak.max())
    for _ in range(40):
        threshold = (under + over) / 2
        if np.minimum((largest <= threshold).sum(0) + 1, rows).mean() < run_length:
            under = threshold
        else:
            over = threshold
    return (under + over) / 2
    ### END SOLUTION
