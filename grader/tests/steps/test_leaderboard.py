"""The leaderboard ranks nobody by luck, shows nobody who has not asked for it, and no name of a student."""

import json
from dataclasses import dataclass

import pytest

from grader.book.board import Measured, apart, ranked, refusal
from grader.course import CourseError
from grader.examine import compare, standing
from grader.examine.checks import check
from grader.examine.standing import Round, Standing
from grader.steps.grade import grade
from grader.steps.leaderboard import leaderboard


@dataclass
class Bounds:
    low: float
    high: float


def entry(name, low, high, share=None):
    return Measured(
        f"id of {name}", name, (low + high) / 2 if share is None else share, low, high, 1.5, "", ""
    )


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ((0.5, 0.6), (0.3, 0.4), 1),
        ((0.3, 0.4), (0.5, 0.6), -1),
        ((0.3, 0.5), (0.5, 0.6), 0),
        ((0, 1), (0.5, 0.6), 0),
    ],
)
def test_intervals_that_overlap_are_ranked_or_others_are_not(one, other, says):
    assert apart(Bounds(*one), Bounds(*other)) == says


def test_two_entries_of_different_ranks_overlap_or_the_lower_half_is_shown():
    # a is surely above c, and b overlaps with both: one tie. A wide interval below joins what it reaches into.
    entries = [
        entry("a", 0.70, 0.80),
        entry("b", 0.60, 0.75),
        entry("c", 0.55, 0.65),
        entry("d", 0.40, 0.50),
        entry("e", 0.30, 0.41, share=0.31),
        entry("f", 0.10, 0.20),
        entry("g", 0.00, 0.05),
    ]
    found = ranked(reversed(entries))
    assert [(rank, one.pseudonym) for rank, one in found] == [
        (1, "a"),
        (1, "b"),
        (1, "c"),
        (4, "d"),
        (4, "e"),
    ]
    for rank, one in found:
        for other_rank, other in found:
            assert rank == other_rank or apart(one, other) == (1 if rank < other_rank else -1)
    assert [rank for rank, _ in ranked([entry("a", 0, 1)])] == [1]
    assert ranked([]) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Quick Fox_2", ""),
        ("q", "is no name for the board"),
        ("<script>", "is no name for the board"),
        ("Лиса", "is no name for the board"),
        ("", "is no name for the board"),
        ("x" * 25, "is no name for the board"),
        ("BOB", "is somebody's name or id, or taken"),
        ("ann  love-lace", "is somebody's name or id, or taken"),
    ],
)
def test_a_pseudonym_is_markup_or_somebody_elses_name(name, says):
    told = refusal(name, ["bob", "Ann Lovelace"])
    assert (says in told) if says else told == ""


def test_a_score_is_no_share_of_the_gap():
    found = Standing("cpu", (Round(0.6, 0.2), Round(0.6, 0.2), Round(0.6, 0.2)))
    share, times = found.share(), found.times()
    assert (share.low, share.ratio, share.high) == pytest.approx((0.5, 0.5, 0.5))
    assert times.ratio == pytest.approx(1 / 0.6)


def test_a_floor_that_names_no_function_is_found_by_nobody():
    with pytest.raises(CourseError, match="floor='beside': name a function"):
        check(item="i", points=1, floor="beside")


SPEED = '''from grader.checks import check, expect_close, expect_equal


@check(item="total", points=2)
def total_of_the_empty_list_secretly(sub):
    """total of nothing is 0."""
    expect_equal(sub.call("sums:total", []).result, 0, of="the sum of nothing")


@check(item="spread", points=0.5, wall=120, floor="part1_floor_hidden:spread")
def spread_is_fast_secretly(sub):
    """spread takes at most twice as long as a plain solution."""
    sub.compare(
        "sums:spread",
        lambda: [sub.rng.normal((sub.rng.integers(20_000, 22_000),))],
        against="part1_plain_hidden:spread",
        threshold=0.5,
        verify=lambda mine, right: expect_close(mine, right, atol=1e-6, why="float32"),
    )
'''
SPREAD = """import torch

def total(x):
    return sum(x)

def spread(x):
    x = torch.as_tensor(x)
    for _ in range({steps}):
        torch.tanh(x)
    result = x.max() - x.min()
    return int(result) if x.dtype == torch.int64 else result
"""


@pytest.fixture
def racing(released_course, hand_in, monkeypatch):
    """Return the course, and a function that hands in a solution of so many steps under a pseudonym."""
    monkeypatch.setattr(compare, "FAST_FROM", 8)
    monkeypatch.setattr(standing, "ROUNDS", 3)
    monkeypatch.setattr(standing, "TRIPLES", (3, 3))
    checks = released_course / "source" / "hw1" / "checks"
    (checks / "part1_hidden.py").write_text(SPEED)
    (checks / "part1_plain_hidden.py").write_text(SPREAD.format(steps=120))
    (checks / "part1_floor_hidden.py").write_text("def spread(x):\n    return x[0]\n")

    def make(student, steps, pseudonym=None):
        folder = hand_in(student, SPREAD.format(steps=steps))
        if pseudonym is not None:
            (folder / "leaderboard.txt").write_text(pseudonym, encoding="utf-8")
        return folder

    return released_course, make


@pytest.mark.alone
def test_the_board_shows_a_student_or_a_slow_one_first_or_races_what_is_known(racing, one_examiner, tmp_path):
    course, make = racing
    make("ann", 80, "Slow Loris\n")
    fast = make("bob", 5, "Falcon")
    make("cleo", 5)  # takes no part
    make("eve", 5, "bob")
    make("fay", 400, "Snail")  # too slow for the points of the check
    (make("link", 5) / "leaderboard.txt").symlink_to("/etc/hostname")
    grade(course, "hw1")
    result = leaderboard(course, "hw1")
    assert (result.entrants, result.raced) == (3, 2)
    assert result.notes == [
        "eve: the name 'bob' in leaderboard.txt is somebody's name or id, or taken; choose another",
        "fay, spread_is_fast_secretly: not raced, its verdict is fail",
    ]
    (kind,) = json.loads(result.data.read_text())["kinds"]
    (board,) = kind["boards"]
    assert (board["item"], board["entrants"]) == ("spread", 2)
    (first,) = board["ranked"]  # the upper half
    assert (first["rank"], first["name"], first["tie"]) == (1, "Falcon", False)
    assert 0.5 < first["low"] <= first["share"] <= first["high"] < 1.1
    for path in (result.page, result.data):
        text = path.read_text()
        assert not [
            name for name in ("ann", "bob", "cleo", "eve", "fay", "Loris", "secretly") if name in text
        ]
        assert "spread takes at most twice" not in text  # the check is hidden
    assert result.page.parent.parent.stat().st_mode & 0o077 == 0

    assert leaderboard(course, "hw1").raced == 0
    assert leaderboard(course, "hw1", students=["ann"], again=True).raced == 1
    # What was handed in anew is not known until it is graded; who takes the file out leaves.
    (fast / "sums.py").write_text(SPREAD.format(steps=6))
    (course / "submitted" / "ann" / "hw1" / "leaderboard.txt").unlink()
    published = tmp_path / "public"
    with pytest.raises(CourseError, match="no such folder; make it"):
        leaderboard(course, "hw1", to=published)
    published.mkdir()
    result = leaderboard(course, "hw1", to=published)
    assert (result.entrants, result.raced) == (2, 0)
    assert "bob, spread_is_fast_secretly: not raced, not graded as it is now" in result.notes
    assert "Nobody is on the board yet" in (published / "index.html").read_text()


def test_an_assignment_without_a_floor_gets_an_empty_board(released_course, hand_in):
    hand_in("ann")
    with pytest.raises(CourseError, match="no check of hw1 has a floor"):
        leaderboard(released_course, "hw1")
    with pytest.raises(CourseError, match="hw9 is not an assignment"):
        leaderboard(released_course, "hw9")
