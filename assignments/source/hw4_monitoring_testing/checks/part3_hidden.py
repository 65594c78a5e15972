"""Hidden checks of part 3: the same properties on other inputs. Never released."""

import math
import runpy
from functools import cache
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from grader.checks import Failed, check, expect, expect_equal


@cache
def public():
    """Return the names of the public file; at import its checks would be declared a second time, as hidden ones."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part3_public.py"))))


# --- run_length -------------------------------------------------------------------------------------------------


@check(
    item="run_length",
    points=0.25,
    wall=120,
    hint="A formula or a table holds for normal numbers only. Draw rows from the reference, with replacement.",
)
def skewed_features_have_their_run_length(sub):
    """Waiting times (exponential), and their mirror image: a run length of 250 within 25 %."""
    chance, scale = public().generator(sub), sub.rng.integers(2, 50)
    for of, draw in (
        ("exponential", lambda rows: scale * chance.exponential(size=(rows, 1))),
        ("exponential, upside down", lambda rows: -scale * chance.exponential(size=(rows, 1))),
    ):
        public().expect_run_length(sub, draw, slack=0.5, wanted=250, of=of)


@check(
    item="run_length",
    points=0.25,
    wall=120,
    hint="Draw whole rows: features that move together give their false alarms together, so there are fewer of them "
    "than of independent ones.",
)
def many_features_share_one_run_length(sub):
    """Ten features that depend on each other (correlation 0.9): a run length of 250 for all together, within 25 %."""
    chance, features = public().generator(sub), 10
    mixed = np.linalg.cholesky(np.full((features, features), 0.9) + 0.1 * np.eye(features))
    mean, std = chance.uniform(-50, 50, features), chance.permutation(np.geomspace(1, 30, features))
    draw = lambda rows: mean + std * (chance.standard_normal((rows, features)) @ mixed.T)  # noqa: E731
    public().expect_run_length(sub, draw, slack=0.5, wanted=250, of="ten features")


# --- monitor ----------------------------------------------------------------------------------------------------


@check(
    item="monitor",
    points=0.1,
    hint="NaN compares as false with everything, and max() of it depends on the order: look for it first.",
)
def missing_values_change_nothing(sub):
    """Two features with missing values, and rows without any: alarms as if rows without the first were not there."""
    settings = public().some_settings(sub, ["price", "clicks"])
    rows = public().some_rows(sub, settings, 120)
    # The second never gives an alarm: what one does to the other is another check's matter.
    rows[:, 1] = settings["mean"][1]
    gone = sub.rng.uniform(0, 1, rows.shape) < 1 / 3
    gone[50] = True
    full = rows[~gone[:, 0]]
    rows[gone] = math.nan
    found = told(sub, settings, rows)
    own = iter(told(sub, settings, full))
    for number, (mine, missing) in enumerate(zip(found, gone[:, 0].tolist(), strict=True)):
        wanted = [] if missing else next(own)[0]
        if mine[0] != wanted:
            raise Failed(
                f"row {number}, {rows[number].tolist()}: other alarms than without the missing values",
                yours=str(mine[0])[:100],
                expected=str(wanted)[:100],
            )


def told(sub, settings, rows, restarts=()):
    """Return alarms and metrics of each row, after a look at their form; some row has an alarm."""
    found = sub.call("driver:watched", settings, rows, list(restarts), wall=public().WALL).result
    for each in public().listed(found, len(rows), "the reply"):
        good = type(each) is list and len(each) == 2 and type(each[0]) is list and type(each[1]) is str
        expect(good, "the driver's reply is damaged")
    alarms = any(each[0] for each in found)
    expect(alarms, "no row gives an alarm, although a feature drifts")
    return found


def number_of(line):
    """Return a line of the metrics with its value as a number, where it has one."""
    words, _, value = line.rpartition(" ")
    try:
        return words, float(value)
    except ValueError:
        return line, None


@check(
    item="monitor",
    points=0.1,
    hint="The state has both sums and every counter, and the settings too.",
)
def a_restart_changes_nothing(sub):
    """Three restarts, of which one follows a row without values: alarms and metrics are those without any."""
    settings = public().some_settings(sub, ["age", "price", "clicks"])
    rows = public().some_rows(sub, settings, 120)
    # Sums of both kinds are open at the first two restarts, whatever was drawn, and seen after the next row.
    sums = torch.tensor([[9], [2.5]]) * torch.tensor([1, -1, 1])
    for place, scaled in ((18, sums), (20, sums[:1] / 45), (67, sums), (70, sums[:1] / 45)):
        units = scaled * torch.tensor(settings["std"]) + torch.tensor(settings["mean"])
        rows[place : place + len(scaled)] = units
    rows[69] = math.nan
    own = told(sub, settings, rows)
    for number, (mine, right) in enumerate(zip(told(sub, settings, rows, (20, 70, 71)), own, strict=True)):
        expect_equal(mine[0], right[0], of=f"alarms of row {number}, beside those without restarts")
        # 0 and 0.0 are one value: JSON and a constructor may change how a number is written.
        for one, two in zip_longest(mine[1].split("\n"), right[1].split("\n"), fillvalue=""):
            if number_of(one) != number_of(two):
                expect_equal(one, two, of=f"metrics after row {number}, beside those without restarts")


ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


def samples(text):
    """Return ({(family, feature): value}, {family: type}) of a text in Prometheus' format 0.0.4."""
    values, kinds, now = {}, {}, None
    for line in text.split("\n"):
        if line.startswith("# TYPE "):
            words = line.split()
            expect(len(words) == 4, "a TYPE line is not '# TYPE family kind'", yours=line[:100])
            family, kind = words[2:]
            expect(family not in kinds, f"the family {family[:40]} has two TYPE lines")
            kinds[family], now = kind, family
        elif line and not line.startswith("#"):
            family, brace, rest = line.partition("{")
            feature = None
            if brace:
                expect(
                    rest.startswith('feature="'),
                    "a line of the metrics has no label feature",
                    yours=line[:100],
                )
                rest, feature = rest.removeprefix('feature="'), ""
                while rest and rest[0] != '"':
                    if rest[0] == "\\":
                        expect(
                            rest[1:2] in ESCAPED,
                            "a label has a backslash that escapes nothing",
                            yours=line[:100],
                        )
                        feature, rest = feature + ESCAPED[rest[1]], rest[2:]
                    else:
                        feature, rest = feature + rest[0], rest[1:]
                expect(rest[:2] == '"}' or rest[:3] == '",}', "a label does not end", yours=line[:100])
                rest = rest[rest.index("}") + 1 :]
            else:
                family, _, rest = line.partition(" ")
            try:
                value = float(rest.split()[0])
            except (ValueError, IndexError):
                raise Failed("a line of the metrics has no value", line[:100]) from None
            expect(
                family == now,
                f"a line of {family[:40]} does not stand behind the TYPE line of its family",
                yours=line[:100],
            )
            expect((family, feature) not in values, "two lines of the metrics say the same", yours=line[:100])
            values[family, feature] = value
    return values, kinds


@check(
    item="monitor",
    points=0.1,
    hint="A counter is there before it has counted anything. In labels, a backslash, a double quote and a line feed "
    "are written with a backslash; the lines of a family stand together.",
)
def metrics_say_what_happened(sub):
    """Your alarms and missing values, counted; sums before the first alarm; names with a quote and a backslash."""
    settings = public().some_settings(sub, ["age", 'width in "', "C:\\share", "two\nlines"])
    rows = public().some_rows(sub, settings, 90)
    rows[30:40, 1] = math.nan
    rows[85] = math.nan
    # In the first row, one of the two sums of each feature is 1, and the other 0.
    for place, (mean, std) in enumerate(zip(settings["mean"], settings["std"], strict=True)):
        rows[0, place] = mean + 1.5 * (-1) ** place * std
    found, right = told(sub, settings, rows), public().watch(settings, rows)
    first = next(number for number, each in enumerate(found) if each[0])
    for number in (0, first - 1, 39, 89):
        if number < 0:
            continue
        values, wanted = dict(right[number][1]), {}
        for family, feature in values:
            wanted[family] = "counter" if family.endswith("_total") else "gauge"
            if family == "drift_alarms_total":
                # Yours, right or wrong: they are another check's matter.
                values[family, feature] = sum(each[0].count(feature) for each in found[: number + 1])
        expect_metrics(found[number][1], values, wanted, number >= first, f"metrics after row {number}")


def expect_metrics(text, values, kinds, late, of):
    """Compare a text of metrics with the values of each family and feature; sums only before the first alarm."""
    expect(len(text) < 10_000, f"{of}: more than 10,000 characters")
    expect(text.endswith("\n"), f"{of}: the last line has no line feed")
    mine, types = samples(text)
    expect_equal(dict(sorted(types.items())), dict(sorted(kinds.items())), of=f"{of}: TYPE lines")
    for (family, feature), value in values.items():
        name = family if feature is None else f"{family} of {feature!r}"
        expect((family, feature) in mine, f"{of}: {name} is not there")
        if late and family == "drift_statistic":
            continue
        near = abs(mine[family, feature] - value) <= 1e-6 * max(1, abs(value))
        expect(near, f"{of}: {name} is another value", yours=f"{mine[family, feature]:g}", spec=f"{value:g}")


# --- detector ---------------------------------------------------------------------------------------------------


def all_shifted(rows):
    """Every feature rises by 0.4 of its standard deviation."""
    rows += 0.4


def spread(rows):
    """One feature's standard deviation doubles."""
    rows[..., 4] *= 2


def stuck(rows):
    """One feature's standard deviation falls to a fifth."""
    rows[..., 6] *= 0.2


@check(
    item="detector",
    points=0.6,
    wall=400,
    hint="A sum of squares, or of absolute values, sees what a sum of values does not.",
)
def other_drifts_are_found_as_well(sub):
    """All features shift by 0.4 deviations: 40 rows. One varies twice as much: 20. One hardly varies: 60."""
    public().expect_detector(
        sub,
        [
            ("all features shift by 0.4 deviations", all_shifted, 40),
            ("one feature varies twice as much", spread, 20),
            ("one feature varies a fifth as much", stuck, 60),
        ],
    )
