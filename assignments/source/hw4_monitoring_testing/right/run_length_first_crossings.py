# replaces: run_length.py
# method: a loop over rows for all streams at once; each stream's largest sum so far, and bisection for the threshold
import numpy as np


def statistics(values, slack):
    up, down = np.zeros_like(values), np.zeros_like(values)
    u = d = np.zeros(values.shape[1])
    for t, z in enumerate(values):
        u = np.maximum(0, u + z - slack)
        d = np.maximum(0, d - z - slack)
        up[t], down[t] = u, d
    return up, down


def calibrate(reference, slack, run_length, seed=0):
    chance = np.random.default_rng(seed)
    z = (reference - reference.mean(0)) / reference.std(0)
    streams, rows = 800, int(8 * run_length)
    u = np.zeros((streams, z.shape[1]))
    d = np.zeros_like(u)
    largest = np.zeros((streams, rows))
    so_far = np.zeros(streams)
    for t in range(rows):
        row = z[chance.integers(len(z), size=streams)]
        u = np.maximum(0, u + row - slack)
        d = np.maximum(0, d - row - slack)
        so_far = np.maximum(so_far, np.maximum(u, d).max(1))
        largest[:, t] = so_far
    low, high = 0.0, so_far.max()
    for _ in range(40):
        middle = (low + high) / 2
        first = np.minimum((largest <= middle).sum(1) + 1, rows)
        if first.mean() < run_length:
            low = middle
        else:
            high = middle
    return (low + high) / 2
