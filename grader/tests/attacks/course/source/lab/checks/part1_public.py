"""Public checks: what students see, on inputs that are new each time."""

import torch

from grader.checks import (
    Model,
    Mutant,
    check,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
)

ROUNDING = "float32 arithmetic in another order"
ROUNDING64 = "float64 arithmetic in another order"


@check(item="softmax", points=1, wall=10, hint="Subtract the largest entry first.")
def rows_add_up_to_one(sub):
    """softmax(x, dim) equals exp(x) over its sum."""
    x = sub.rng.normal((5, 300))
    # A sum of 300 terms is off by 300 * 2^-24 = 1.8e-5 of itself at most, in any order.
    expect_close(sub.call("softmax:softmax", x, 1).result, torch.softmax(x, 1), atol=2e-5, why=ROUNDING)


@check(item="meter", points=1, wall=10)
def meter_reads_mean_and_variance(sub):
    """Meter.read returns mean and population variance of everything so far."""
    batches = [sub.rng.normal((int(sub.rng.integers(1, 50)),)) for _ in range(4)]
    readings = sub.call("driver:stream", batches).result
    expect(type(readings) is list and len(readings) == 4, "there is not one reading per batch")
    for number, reading in enumerate(readings):
        seen = torch.cat(batches[: number + 1]).double()
        expect(type(reading) is list and len(reading) == 2, "a reading is not a mean and a variance")
        expect_close(reading[0], float(seen.mean()), atol=1e-6, why=ROUNDING, of="mean")
        expect_close(reading[1], float(seen.var(correction=0)), atol=1e-6, why=ROUNDING, of="variance")


@check(item="sync", points=1, wall=20)
def every_rank_gets_the_mean(sub):
    """average(x, rank, world) leaves the mean on both ranks and moves at most 2.2 tensors."""
    tensors = sub.rng.normal((2, 60_000))
    run = sub.ranks("sync:average", world=2, per_rank=tensors)
    expect_close(run.results, tensors.mean(0), atol=1e-6, why=ROUNDING)
    expect_at_most(run.network_bytes / tensors[0].nbytes, 2.2, of="tensor sizes between the ranks")
    expect_at_least(run.network_bytes / tensors[0].nbytes, 1.9, of="tensor sizes between the ranks")


@check(item="words", points=1, wall=10)
def words_are_counted(sub):
    """count(text) returns a dictionary from word to number."""
    expect_equal(sub.call("words:count", "the cat The dog").result, {"the": 2, "cat": 1, "dog": 1})


@check(item="lean", points=1, wall=20)
def the_nearest_point_is_found(sub):
    """nearest(points) returns the index of the nearest other point."""
    points = sub.rng.normal((500, 3))
    expect_nearest(sub.call("lean:nearest", points).result, points)


@check(item="speed", points=1, wall=20)
def sums_are_right(sub):
    """moving(x, k) returns the sum of every k neighbours."""
    x, k = sub.rng.normal((500,), dtype=torch.float64), int(sub.rng.integers(2, 20))
    expected = x.unfold(0, k, 1).sum(1)
    expect_close(sub.call("speed:moving", x, k).result, expected, atol=1e-9, why=ROUNDING64)


@check(item="service", points=1, wall=20)
def sums_are_served_and_counted(sub):
    """POST /sum answers with what the model says, and GET /metrics counts the answers."""
    # Of two servers on one port, all of a few questions could come to the same one.
    weights, questions = sub.rng.normal((4,)), sub.rng.normal((20, 4))
    model = Model(lambda batch: batch @ weights, shape=(4,), dtype=torch.float32, most=8)
    with sub.serve("service:serve", model=model, ready=8) as server:
        before = server.http("GET", "/metrics", timeout=2).metrics().get("answers_total")
        for question in questions:
            answer = server.http("POST", "/sum", question.tolist(), timeout=2).json()
            expect(type(answer) is dict and list(answer) == ["sum"], "the answer is not one sum")
            expect_close(answer["sum"], float(question @ weights), atol=1e-5, why=ROUNDING)
        after = server.http("GET", "/metrics", timeout=2).metrics().get("answers_total")
        expect(before == 0 and after == len(questions), "the answers are not counted", yours=after)


@check(item="neighbour", points=1, wall=30)
def a_neighbour_gets_what_it_is_promised(sub):
    """An honest program finds everything that a worker may use."""
    found = sub.call("neighbour:lives").result
    lacks = [name for name, works in found.items() if works is not True]
    expect(bool(found) and not lacks, f"does not work: {', '.join(lacks)}")


LEDGER = '''
def balance(amounts):
    found = []
    for amount in amounts:
        found.append(amount + (found[-1] if found else 0))
    return found


def split(total, people):
    """Give what does not divide to the first ones."""
    return [total // people + (place < total % people) for place in range(people)]


def highest(amounts):
    if not amounts:
        raise ValueError("no amounts")
    return max(amounts)
'''
NAMES = {"ledger": ["balance", "split", "highest"]}
PUBLISHED = [
    ("found[-1] if found else 0", "0"),
    ("total // people + (", "total // people - ("),
    ("max(amounts)", "min(amounts)"),
]
"""Three, all to be killed: of one alone a suite that fails by lot would be rid in one of thirty gradings."""


def mutant(number, old, new):
    """Return the ledger with one mistake."""
    text = LEDGER.replace(old, new)
    assert text != LEDGER
    return Mutant(f"m{number}", "ledger.py", "a mistake", "sums", "none", False, {"ledger.py": text})


@check(item="test_ledger", points=1, wall=60)
def a_suite_kills_what_is_published(sub):
    """The suite passes on the published ledger and kills three mutants."""
    suite = sub.suite("test_ledger.py", NAMES, wall=3, patience=1)
    mutants = [mutant(number, *edit) for number, edit in enumerate(PUBLISHED)]
    found = suite.kills({"published": {"ledger.py": LEDGER}}, mutants)
    expect(not found.survivors, "a published mutant survives")


def expect_nearest(found, points):
    """Fail unless every index names another point, at the least distance but for rounding: two may be as near."""
    right = type(found) is torch.Tensor and found.dtype == torch.int64 and found.shape == (len(points),)
    expect(right and bool(((found >= 0) & (found < len(points))).all()), "there is not one index per point")
    expect(bool((found != torch.arange(len(points))).all()), "a point is its own nearest")
    wide = points.double()
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    least = (wide[distances.argmin(1)] - wide).norm(dim=1)
    # Differences of numbers below 6 and a sum of three squares, in float32: 1e-6 each.
    expect_close((wide[found] - wide).norm(dim=1), least, atol=2e-6, why=ROUNDING, of="distances")
