"""A race for the leaderboard, on clocks that are made up: what the score is, and who gets none."""

import itertools
import types

import pytest

from grader.examine.checks import Check, Undecided
from grader.examine.compare import Seconds
from grader.examine.standing import ROUNDS, Entrant
from grader.sandbox.packed import Packed


class Clockwork:
    """A worker that says what a call took; it is closed like a real one."""

    def __init__(self, seconds, closed):
        self.seconds, self.closed = seconds, closed

    def call(self, arguments, deadline):
        took = self.seconds()
        return arguments, Seconds(took, took)

    def close(self):
        self.closed.append(self)


@pytest.fixture
def race(tmp_path):
    """Return a function that races workers whose calls take what three functions say, and gives the entrant."""
    for name in ("plain", "floor"):
        (tmp_path / f"{name}.py").write_text("")
    check = Check("c", "i", 1.0, 60.0, None, "", "", True, "S.", lambda sub: None, floor="floor:work")
    opened = []

    def run(submission, *, reference=lambda: 0.010, floor=lambda: 0.002, comparisons=1):
        packed = Packed.of({"work.py": b""})
        opened.append(packed)
        place = types.SimpleNamespace(stretch=1.0)
        paths = {"references": tmp_path, "driver": None, "memory": 1 << 30, "seed": 1}
        entrant, closed, counter = Entrant(place, packed, check, **paths), [], itertools.count()
        seconds = {"plain:work": reference, "work:work": submission, "floor:work": floor}

        def start(packed, limits, target, let_go):
            return Clockwork(seconds[target], closed)

        for _ in range(comparisons):
            entrant._race(
                *("work:work", "plain:work", start, lambda: [next(counter)]),
                *(0.5, lambda mine, right: None, 2, "cpu", 1, 10),
            )
        assert len(closed) == 3 * ROUNDS
        return entrant.standing

    yield run
    for packed in opened:
        packed.close()


def test_half_of_the_gap_counts_as_another_share_or_a_worker_is_left_running(race):
    found = race(lambda: 0.006)
    share, times = found.share(), found.times()
    assert (share.low, share.ratio, share.high) == pytest.approx((0.5, 0.5, 0.5))
    assert times.ratio == pytest.approx(10 / 6)


def test_workers_that_differ_from_start_to_start_look_as_sure_as_ones_that_do_not(race):
    # Every call of a worker takes the same time, which hides how much the next worker would differ.
    luck = itertools.cycle([0.0050, 0.0055, 0.0060, 0.0065, 0.0070])
    calls = itertools.count()
    current = [0.006]

    def submission():
        if next(calls) % 14 == 0:  # 2 calls to warm up and 12 that count: one round
            current[0] = next(luck)
        return current[0]

    share = race(submission).share()
    assert share.high - share.low > 0.1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"submission": itertools.cycle([0.006] * 3 + [0.060]).__next__}, "some calls are slow"),
        ({"submission": lambda: 0.006, "floor": lambda: 0.0095}, "no gap to close"),
        # 14 calls beside the submission, then 3 without it.
        (
            {"submission": lambda: 0.006, "reference": itertools.cycle([0.010] * 14 + [0.008] * 3).__next__},
            "slower beside the submission's stopped processes",
        ),
        ({"submission": itertools.cycle([0.006, 0.0]).__next__}, "too coarse"),
    ],
)
def test_a_score_is_given_where_none_can_be_trusted(race, options, says):
    with pytest.raises(Undecided, match=says):
        race(**options)


def test_a_second_comparison_of_a_check_replaces_the_first(race):
    with pytest.raises(RuntimeError, match="compares once"):
        race(lambda: 0.006, comparisons=2)
