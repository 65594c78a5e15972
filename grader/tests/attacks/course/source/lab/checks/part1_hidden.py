"""Hidden checks: @canary:hidden-check@ stands here and in the examiner's memory, and nowhere in a sandbox."""

import runpy
import time
from pathlib import Path

import torch

from grader.checks import (
    Http,
    Model,
    check,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
)

SECRET = "@canary:hidden-check@"
INPUT = "@input:hidden-input@"
ROUNDING = "float32 arithmetic in another order"
ROUNDING64 = "float64 arithmetic in another order"


@check(item="softmax", points=1, wall=10)
def large_entries_stay_finite(sub):
    """softmax is finite where exp would overflow, on any dimension."""
    x = 400 * sub.rng.normal((7, 3, int(sub.rng.integers(2, 40))))
    expect_close(sub.call("softmax:softmax", x, 0).result, torch.softmax(x, 0), atol=1e-5, why=ROUNDING)


@check(item="meter", points=1, wall=10)
def a_new_meter_starts_anew(sub):
    """A meter knows only what it was shown."""
    batch = sub.rng.normal((20,), mean=3.0)
    first = sub.call("driver:stream", [batch]).result
    expect_close(first[0][0], float(batch.double().mean()), atol=1e-6, why=ROUNDING)
    expect_close(first[0][1], float(batch.double().var(correction=0)), atol=1e-5, why=ROUNDING)


@check(item="sync", points=1, wall=20)
def ranks_of_other_shapes_agree_too(sub):
    """Any shape is averaged, in place, with no more bytes than an all-reduce needs."""
    tensors = sub.rng.normal((2, 3, 50, int(sub.rng.integers(900, 1100))))
    run = sub.ranks("sync:average", world=2, per_rank=tensors)
    expect_close(run.results, tensors.mean(0), atol=1e-6, why=ROUNDING)
    expect_at_most(run.network_bytes / tensors[0].nbytes, 2.2, of="tensor sizes between the ranks")
    expect_at_least(run.network_bytes / tensors[0].nbytes, 1.9, of="tensor sizes between the ranks")


@check(item="words", points=1, wall=10)
def words_of_a_secret_text(sub):
    """The text of the hidden check is counted too."""
    expect_equal(
        sub.call("words:count", f"{INPUT} one {INPUT} Two").result, {INPUT.lower(): 2, "one": 1, "two": 1}
    )


@check(item="lean", points=1, wall=20)
def no_matrix_of_all_distances(sub):
    """7,000 points need at most 128 MiB: the whole matrix of distances would take 187."""
    # A worker with PyTorch and some blocks takes 30 to 60 MiB, by the size of a page and by the machine's libraries.
    points = sub.rng.normal((7000, 3))
    run = sub.call("lean:nearest", points)
    expect_nearest(run.result, points)
    expect_at_most(run.peak_memory / 2**20, 128.0, of="MiB at its peak")


@check(item="speed", points=1, wall=60)
def sums_are_fast(sub):
    """moving is at least twice as fast as adding k shifted copies."""

    def inputs():
        size = int(sub.rng.integers(90_000, 110_000))
        return sub.rng.normal((size,), dtype=torch.float64), int(sub.rng.integers(780, 820))

    def verify(result, of_reference):
        expect_close(result, of_reference, atol=1e-7, why=ROUNDING64)

    sub.compare("speed:moving", inputs, against="slow:moving", threshold=2.0, verify=verify, wall=5)


@check(item="ramp", points=1, wall=60)
def one_sum_is_faster_than_many(sub):
    """ramp is at least 1.35 times as fast as adding 1 so many times."""

    def inputs():
        return (sub.rng.normal((int(sub.rng.integers(90_000, 110_000)),), dtype=torch.float64),)

    def verify(result, of_reference):
        expect_close(result, of_reference, atol=1e-9, why=ROUNDING64)

    sub.compare("ramp:ramp", inputs, against="slow:ramp", threshold=1.35, verify=verify, wall=5)


@check(item="service", points=1, wall=20)
def a_service_answers_what_it_has_begun(sub):
    """What was asked before SIGTERM is answered, beside a slow client; then nobody listens, and nothing lives."""
    weights, questions = sub.rng.normal((4,)), sub.rng.normal((40, 4))
    model = Model(lambda batch: batch @ weights, fixed=0.02, shape=(4,), dtype=torch.float32, most=8)
    with sub.serve("service:serve", model=model, ready=8) as server:
        with server.connect() as slow:
            slow.sendall(f"POST /sum?{INPUT} HTTP/1.1\r\nHo".encode())
            asked = [Http("POST", f"/sum?{INPUT}", question.tolist()) for question in questions]
            load = server.load(asked, at=200, timeout=5)
            time.sleep(0.5)
        ended = server.terminate(5)
        replies = load.replies()
        begun = [reply for reply in replies if 0 < reply.sent < ended.asked - 0.25]
        expect(len(replies) == len(questions) and bool(begun), "not every question came to an end")
        for reply, question in zip(replies, questions, strict=True):
            if reply in begun or not reply.error:
                answer = reply.answer.json()
                expect(type(answer) is dict and list(answer) == ["sum"], "the answer is not one sum")
                expect_close(answer["sum"], float(question @ weights), atol=1e-5, why=ROUNDING)
    expect(ended.code in (0, -15), "the service did not end", yours=ended.error)
    expect(not ended.listening and not ended.survivors, "something of the service lives on")
    expect(sum(model.sizes) >= len(begun), "fewer questions came to the model than were answered")


OTHERWISE = '''
import itertools


def balance(amounts):
    return list(itertools.accumulate(amounts))


def split(total, people):
    """Give what does not divide to the last ones."""
    few, more = divmod(total, people)
    return [few] * (people - more) + [few + 1] * more


def highest(amounts):
    return sorted(amounts, reverse=True)[0] if amounts else _refuse()


def _refuse():
    raise ValueError
'''
EDITS = [
    ("(place < total % people)", "0"),
    ("return max(amounts)", "return max(amounts, key=abs)"),
    ("range(people)", "range(people + 1)"),
    ('raise ValueError("no amounts")', "return 0"),
]


@check(item="test_ledger", points=1, wall=120)
def a_suite_kills_most(sub):
    """The suite passes on two ledgers and kills three of four mutants."""
    public = runpy.run_path(str(Path(__file__).with_name("part1_public.py")))
    mutants = [public["mutant"](number, *edit) for number, edit in enumerate(EDITS, 1)]
    right = {"published": {"ledger.py": public["LEDGER"]}, "otherwise": {"ledger.py": OTHERWISE}}
    found = sub.suite("test_ledger.py", public["NAMES"], wall=3, patience=1).kills(right, mutants)
    expect_at_least(found.share(), 0.75, of="share of mutants killed")


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
