# replaces: run_length.py
# method: sums in closed form from their minima; alarms per row of chains that start anew, by a secant
import math

import numpy as np
import torch


def one_side(steps):
    total = np.cumsum(steps, axis=0)
    lowest = np.minimum.accumulate(np.minimum(total, 0.0), axis=0)
    return total - lowest


def statistics(values, slack):
    values = np.asarray(values, dtype=float)
    return one_side(values - slack), one_side(-values - slack)


def rows_between_alarms(z, picks, slack, threshold):
    both = torch.zeros(picks.shape[1], 2, z.shape[1])
    alarms = 0
    for pick in picks:
        row = z[pick]
        both = (both + torch.stack([row, -row], dim=1) - slack).clamp_(min=0)
        crossed = (both > threshold).flatten(1).any(1)
        both[crossed] = 0
        alarms += int(crossed.sum())
    return picks.numel() / max(alarms, 1)


def calibrate(reference, slack, run_length, seed=0):
    z = torch.as_tensor((reference - reference.mean(axis=0)) / reference.std(axis=0, ddof=1))
    maker = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(z), (int(6 * run_length), 600), generator=maker)
    goal = math.log(run_length)
    points = []
    threshold = 5.0
    for _ in range(7):
        points.append((threshold, math.log(rows_between_alarms(z, picks, slack, threshold)) - goal))
        if abs(points[-1][1]) < 0.02:
            break
        if len(points) == 1:
            slope = 1.0
        else:
            (h0, y0), (h1, y1) = points[-2:]
            slope = max((y1 - y0) / (h1 - h0), 0.2)
        threshold -= points[-1][1] / slope
    return min(points, key=lambda point: abs(point[1]))[0]
