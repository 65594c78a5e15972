"""What lecture 2 measures about monitors: run lengths, delays, monitors with and without labels, retraining."""

import functools
from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from week09_experiment_tracking.drift import Cusum, Monitor, Windows

REFERENCE = 4_000


def run_length(make: Callable[[np.ndarray], Monitor], features: int, rows: int, repeats: int, seed: int = 0):
    """Rows for each false alarm where nothing drifts: renewals over `repeats` references, with a 95 % interval.

    The interval is that of a count of Poisson; several features that alarm in one step are one alarm.
    """
    rng, alarms = np.random.default_rng(seed), 0
    for _ in range(repeats):
        monitor = make(rng.normal(size=(REFERENCE, features)))
        alarms += len({alarm.row for alarm in monitor.update(rng.normal(size=(rows, features)))})
    total = rows * repeats
    most, least = stats.chi2.ppf([0.975, 0.025], [2 * alarms + 2, max(2 * alarms, 1)]) / 2
    return total / max(alarms, 1), total / most, total / max(least, 1e-9)


def uncorrected(features: int, size: int, windows: int, level: float = 0.05, seed: int = 0) -> float:
    """Share of windows without drift at which at least one feature's test says p < level."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(REFERENCE, features))
    monitor = Windows(reference, 100 * size, size)
    monitor.limit = float(stats.kstwo.isf(level, round(REFERENCE * size / (REFERENCE + size))))
    levels = monitor.distances(rng.normal(size=(windows, size, features))) / monitor.limit
    return float((levels > 1).any(1).mean())


def significant(shift: float, size: int, repeats: int = 20, seed: int = 0) -> float:
    """Share of windows of `size` rows that a test at 1 % calls drifted, if the mean is off by `shift`."""
    rng, found = np.random.default_rng(seed), 0
    for _ in range(repeats):
        one, two = rng.normal(size=size), rng.normal(shift, size=size)
        found += stats.ks_2samp(one, two, method="asymp").pvalue < 0.01
    return found / repeats


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean, 0.1": lambda z: z + 0.1,
    "mean, 0.3": lambda z: z + 0.3,
    "mean, 1": lambda z: z + 1,
    "spread × 1.5": lambda z: 1.5 * z,
}
"""Drifts of one feature, in standard deviations."""


def delays(make: Callable[[np.ndarray], Monitor], features: int, longest: int, repeats: int, seed: int = 0):
    """Rows from the drift to the alarm, mean over streams, for each of KINDS; `longest` where none came."""
    found = {}
    for kind, change in KINDS.items():
        rng, waits = np.random.default_rng(seed), []
        for _ in range(repeats):
            monitor = make(rng.normal(size=(REFERENCE, features)))
            rows = rng.normal(size=(longest, features))
            rows[:, 0] = change(rows[:, 0])
            waits.append(next((alarm.row for alarm in monitor.update(rows)), longest))
        found[kind] = float(np.mean(waits))
    return found


@functools.cache
def reader():
    """A classifier of digits, trained on half of them, and the other half: (model, inputs, targets)."""
    inputs, targets = load_digits(return_X_y=True)
    mixed = np.random.default_rng(0).permutation(len(inputs))
    inputs, targets = inputs[mixed] / 16, targets[mixed]
    model = LogisticRegression(C=0.1, max_iter=500).fit(inputs[:800], targets[:800])
    return model, inputs[800:], targets[800:]


def darker(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All ink 10 % fainter: inputs change, answers hardly."""
    return 0.9 * inputs, targets


def relabelled(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From now on half of the sevens mean one: inputs are those of before, the right answer is not."""
    sevens = np.flatnonzero(targets == 7)[::2]
    changed = targets.copy()
    changed[sevens] = 1
    return inputs, changed


def noisy(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A worn sensor: noise on all pixels. Inputs change, and answers get worse."""
    return inputs + np.random.default_rng(1).normal(0, 0.35, inputs.shape), targets


SCENES = {"fainter ink": darker, "sevens that mean one": relabelled, "worn sensor": noisy}


def with_and_without_labels(run_length: float = 50_000, rows: int = 6_000, repeats: int = 5):
    """For each scene: accuracy, and rows until the alarm on inputs and on errors, medians over streams (inf: never).

    The inputs are watched pixel by pixel (those that vary); errors are a stream of 0 and 1. Rows are drawn with
    replacement from the same pictures before and after.
    """
    model, inputs, targets = reader()
    varying = inputs.std(0) > 0.05
    wrong = (model.predict(inputs) != targets).astype(float)
    found = {}
    for name, change in {"nothing": lambda x, y: (x, y), **SCENES}.items():
        x, y = change(inputs, targets)
        errors, waits = (model.predict(x) != y).astype(float), []
        for seed in range(repeats):
            rng = np.random.default_rng(seed)
            known, drawn = rng.integers(len(x), size=REFERENCE), rng.integers(len(x), size=rows)
            streams = (inputs[known][:, varying], x[drawn][:, varying]), (wrong[known], errors[drawn])
            alarms = [Cusum(reference, run_length, 50).update(stream) for reference, stream in streams]
            waits.append([alarm[0].row if alarm else np.inf for alarm in alarms])
        found[name] = 1 - float(errors.mean()), *np.median(waits, axis=0).tolist()
    return found


POLICIES = ("never", "every 500 rows", "every 2,000 rows", "on alarm")
WORLDS = {"still": (0.0, 0.0), "jumps": (0.0005, 0.0), "creeps": (0.0, 0.01)}
"""(Chance of a jump in a row, size of a random step in every row.)"""


def retraining(world: str, policy: str, price: float, rows: int = 20_000, seed: int = 0) -> tuple[float, int]:
    """Mean cost of a row, and retrainings, in a model: four weights that drift, a fit that may be renewed.

    The cost is the squared error beyond the noise, plus `price` for each retraining, which fits the last 250 rows.
    On alarm: a Cusum on squared errors, of one false alarm in 20,000 rows, and 250 rows of waiting for new data.
    """
    chance, step = WORLDS[world]
    rng = np.random.default_rng(seed)
    jumps = (rng.random(rows) < chance)[:, None] * rng.normal(size=(rows, 4))
    truth = np.cumsum(jumps + step * rng.normal(size=(rows, 4)), 0)
    inputs, noise = rng.normal(size=(rows, 4)), rng.normal(size=rows)
    targets = (inputs * truth).sum(1) + noise
    every = {"every 500 rows": 500, "every 2,000 rows": 2_000}.get(policy, rows)
    cost, times, at, due = 0.0, 0, 250, None
    fit = np.linalg.lstsq(inputs[:250], targets[:250], rcond=None)[0]
    monitor, last = None, 250
    while at < rows:
        part = slice(at, at + 50)
        errors = targets[part] - inputs[part] @ fit
        cost += float((((inputs[part] @ (truth[part] - fit).T).diagonal()) ** 2).sum())
        at += 50
        if policy == "on alarm":
            monitor = monitor or Cusum(np.random.default_rng(1).normal(size=5_000) ** 2 * 1.02, 20_000, 50)
            if due is None and monitor.update(errors**2):
                due = at + 250
        if (policy == "on alarm" and due is not None and at >= due) or (
            policy != "on alarm" and at - last >= every
        ):
            recent = slice(at - 250, at)
            fit = np.linalg.lstsq(inputs[recent], targets[recent], rcond=None)[0]
            cost, times, last, due, monitor = cost + price, times + 1, at, None, None
    return cost / rows, times
