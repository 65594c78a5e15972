"""Public checks of part 3. The hidden ones call the same procedures with other inputs."""

import math

import numpy as np
import torch

from grader.checks import (
    Failed,
    check,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
)

WALL = 60  # seconds, only to end what hangs; a calibration takes about one
ROWS = 20_000  # of a reference: its mean and deviation are then known to 1 %


def listed(value, count, what):
    """Return a list of the student's, after a look at its form."""
    expect(type(value) is list and len(value) == count, f"{what} is damaged")
    return value


def generator(sub):
    """Return a generator of the examiner's, with a new seed."""
    return np.random.default_rng(sub.rng.integers(0, 1 << 60))


# --- run_length -------------------------------------------------------------------------------------------------


def right_sums(values, slack):
    """Return both cumulative sums, row by row."""
    up, down = np.zeros_like(values), np.zeros_like(values)
    for row in range(len(values)):
        before = (up[row - 1], down[row - 1]) if row else (0, 0)
        up[row] = np.maximum(0, before[0] + values[row] - slack)
        down[row] = np.maximum(0, before[1] - values[row] - slack)
    return up, down


@check(
    item="run_length",
    points=0.2,
    hint="The sum never falls below zero: max(0, ...) in each row, and not of the whole sum at the end.",
)
def sums_follow_the_recursion(sub):
    """Both sums of 60 rows of 5 features, and of a single feature, at two slacks."""
    for rows, features, slack in ((60, 5, 0.5), (40, 1, 0.2 + 0.3 * sub.rng.integers(0, 3))):
        values = sub.rng.normal((rows, features), dtype=torch.float64)
        values[rows // 2 :, 0] += 1
        answer = sub.call("driver:sums", values, slack, wall=WALL).result
        expect(type(answer) in (list, tuple) and len(answer) == 2, "the driver's reply is damaged")
        for name, mine, right in zip(("up", "down"), answer, right_sums(values.numpy(), slack), strict=True):
            expect_close(
                mine,
                torch.from_numpy(right),
                atol=1e-9,
                why="float64; sums of 60 terms in another order differ by 1e-14",
                of=f"{name}, slack {slack:g}, {features} features",
            )


def average_run_length(draw, mean, std, slack, threshold, longest, streams=1200):
    """Return how many rows come before an alarm, on average over streams that end after `longest` rows."""
    high = low = 0.0
    alive, length = np.ones(streams, dtype=bool), np.zeros(streams)
    for _ in range(longest):
        scaled = (draw(streams) - mean) / std
        high, low = np.maximum(0, high + scaled - slack), np.maximum(0, low - scaled - slack)
        length += alive
        alive &= np.maximum(high, low).max(1) <= threshold
        if not alive.any():
            break
    return float(length.mean())


def expect_run_length(sub, draw, *, slack, wanted, of):
    """Ask for a threshold, and let streams without drift run until it is crossed: a mean of 0.75 to 1.33 of `wanted`.

    800 streams of the student's and 1,200 of ours give a mean within 5 %, and the reference, of 20,000 rows, one
    within 3 %; the limits lie four of these away. The usual mistakes give 0.5 and 2, or worse.
    """
    reference = draw(ROWS)
    found = sub.call(
        "driver:threshold",
        *(torch.from_numpy(reference), slack, wanted, sub.rng.integers(0, 1000)),
        wall=WALL,
    ).result
    good = type(found) is float and math.isfinite(found)
    expect(good, f"{of}: calibrate returned no number", yours=str(found)[:80])
    expect_at_least(found, 0.0, of=f"{of}: threshold")
    mean = average_run_length(draw, reference.mean(0), reference.std(0), slack, found, 8 * wanted)
    of = f"{of}: rows to a false alarm, in run lengths of {wanted}, at your threshold of {found:.3g}"
    expect_at_least(mean / wanted, 0.75, of=of)
    expect_at_most(mean / wanted, 1.33, of=of)


@check(
    item="run_length",
    points=0.3,
    wall=120,
    hint="Both sums are watched, so that alarms come about twice as often as from one. A run that has not ended when "
    "you stop looking is longer than it seems.",
)
def a_gaussian_feature_has_its_run_length(sub):
    """One feature, normal, with a mean and a deviation of its own: a run length of 250 within 25 %."""
    chance, mean, std = generator(sub), sub.rng.integers(-50, 50), sub.rng.integers(2, 20)
    draw = lambda rows: mean + std * chance.standard_normal((rows, 1))  # noqa: E731
    expect_run_length(sub, draw, slack=0.5, wanted=250, of="normal")


# --- monitor ----------------------------------------------------------------------------------------------------


def watch(settings, rows):
    """Return for each row the alarms, and counters and sums after it, as `monitor.py` describes them."""
    names, slack, limit = settings["names"], settings["slack"], settings["threshold"]
    high, low, alarms, missing = ([0.0] * len(names) for _ in range(4))
    found = []
    for number, row in enumerate(rows.tolist(), 1):
        now = []
        for place, value in enumerate(row):
            if math.isnan(value):
                missing[place] += 1
                continue
            scaled = (value - settings["mean"][place]) / settings["std"][place]
            high[place] = max(0.0, high[place] + scaled - slack)
            low[place] = max(0.0, low[place] - scaled - slack)
            if max(high[place], low[place]) > limit:
                high[place] = low[place] = 0.0
                alarms[place] += 1
                now.append(names[place])
        values = {("drift_rows_total", None): number}
        for place, name in enumerate(names):
            values["drift_alarms_total", name] = alarms[place]
            values["drift_missing_total", name] = missing[place]
            values["drift_statistic", name] = max(high[place], low[place])
        found.append((now, values))
    return found


def some_settings(sub, names):
    """Return settings of a monitor of these features."""
    return {
        "names": list(names),
        "mean": [sub.rng.integers(-20, 20) + 0.5 for _ in names],
        "std": [float(sub.rng.integers(1, 9)) for _ in names],
        "slack": 0.5,
        "threshold": 3.0,
    }


def some_rows(sub, settings, count):
    """Return rows [count, F] in the features' units, of which some drift from a third on, in either direction."""
    scaled = sub.rng.normal((count, len(settings["names"])), dtype=torch.float64)
    scaled[count // 3 :, 0] += 1.2
    scaled[count // 3 :, -1] -= 1.2
    return scaled * torch.tensor(settings["std"]) + torch.tensor(settings["mean"])


def expect_alarms(sub, settings, rows, restarts=(), of=""):
    """Compare the alarms of each row; return what the driver gave, and what is right."""
    found = sub.call("driver:watched", settings, rows, list(restarts), wall=WALL).result
    right = watch(settings, rows)
    for number, (mine, (names, _)) in enumerate(
        zip(listed(found, len(rows), "the reply"), right, strict=True)
    ):
        listed(mine, 2, "the reply")
        if mine[0] != names:
            raise Failed(
                f"row {number}{of}: alarms of other features",
                yours=str(mine[0])[:100],
                expected=str(names),
            )
    return found, right


@check(
    item="monitor",
    points=0.2,
    hint="An alarm sets both sums of its feature to 0, and leaves the others as they are.",
)
def alarms_come_in_their_row(sub):
    """120 rows of three features, of which one rises and one falls: the alarms of every row."""
    settings = some_settings(sub, ["age", "price", "clicks"])
    expect_alarms(sub, settings, some_rows(sub, settings, 120))


# --- detector ---------------------------------------------------------------------------------------------------

FEATURES = 8
RUN_LENGTH = 200
MIXED = np.linalg.cholesky(np.full((4, 4), 0.6) + 0.4 * np.eye(4))


def quiet(chance, *shape):
    """Return rows without drift: four features depend on each other, three are on their own, one is skewed."""
    rows = chance.standard_normal((*shape, FEATURES))
    rows[..., :4] = rows[..., :4] @ MIXED.T
    rows[..., 7] = chance.exponential(size=shape) - 1
    return rows


def expect_detector(sub, drifts):
    """Run the detector on 300 streams without drift, and on 80 with each of `drifts`: (words, change, most rows)."""
    chance, features, scale = generator(sub), FEATURES, np.array([1, 10, 0.1, 3, 1, 5, 2, 20])
    order, offset = chance.permutation(features), chance.integers(-100, 100, features)
    own = lambda rows: torch.from_numpy((rows * scale + offset)[..., order])  # noqa: E731
    reference, longest = own(quiet(chance, ROWS // 2)), 3 * RUN_LENGTH
    streams = own(quiet(chance, 300, longest))
    found = sub.call("driver:alarms", reference, RUN_LENGTH, streams, wall=90).result
    listed(found, 300, "the reply")
    expect(all(type(one) is int and 0 <= one <= longest for one in found), "the driver's reply is damaged")
    mean = sum(one or longest for one in found) / 300
    expect_at_least(mean / RUN_LENGTH, 0.65, of=f"rows to a false alarm, in run lengths of {RUN_LENGTH}")
    for words, change, most in drifts:
        rows = quiet(chance, 80, 400)
        change(rows)
        delays = listed(
            sub.call("driver:alarms", reference, RUN_LENGTH, own(rows), wall=90).result, 80, "the reply"
        )
        expect(all(type(one) is int and 0 <= one <= 400 for one in delays), "the driver's reply is damaged")
        expect_at_most(sum(one or 400 for one in delays) / 80, most, of=f"rows until the alarm, {words}")


def shifted(rows):
    """One feature of those on their own rises by its standard deviation."""
    rows[..., 5] += 1


@check(
    item="detector",
    points=0.4,
    wall=300,
    hint="With 8 features and two directions 16 sums can give a false alarm: calibrate on the largest of all.",
)
def a_shift_is_found_at_the_stated_run_length(sub):
    """200 rows to a false alarm (0.65 of it at least), and one feature's shift by its deviation within 24 rows."""
    expect_detector(sub, [("one feature shifts by its standard deviation", shifted, 24)])
