"""The checks tried before a release: none passes what no check may pass, and who does is named."""

import pytest
import torch
from typer.testing import CliRunner

from grader.book import records
from grader.cli import app
from grader.course import Course
from grader.steps import trials

CHECKS = '''from grader.checks import check, expect, expect_close, expect_equal


def numbers(sub):
    return sub.rng.integers(2, 100, (5,)).tolist()


@check(item="total", points=1)
def looks_at_nothing(sub):
    """total adds."""
    sub.call("sums:total", numbers(sub))


@check(item="total", points=1)
def tolerates_everything(sub):
    """total adds."""
    given = numbers(sub)
    found = sub.call("sums:total", given).result
    expect(type(found) is int, "no number")
    expect_close(found, sum(given), atol=1e6, why="no reason")


@check(item="total", points=1, accepts={"zeros": "a reason", "constant": "a reason"})
def tolerates_everything_and_says_why(sub):
    """total adds."""
    given = numbers(sub)
    found = sub.call("sums:total", given).result
    expect(type(found) is int, "no number")
    expect_close(found, sum(given), atol=1e6, why="no reason")


@check(item="total", points=1)
def asks_the_same_always(sub):
    """total adds."""
    expect_equal(sub.call("sums:total", [1, 2, 3]).result, 6)


@check(item="spread", points=1)
def expects_zero(sub):
    """The spread of equal numbers."""
    expect_equal(sub.call("sums:spread", [sub.rng.integers(2, 1 << 30)] * 2).result, 0)


@check(item="spread", points=1)
def is_sound(sub):
    """The spread is a difference."""
    given = numbers(sub)
    expect_equal(sub.call("sums:spread", given).result, max(given) - min(given))


@check(item="spread", points=1)
def meets_no_answer(sub):
    """The text defines spread."""
    expect("def spread" in sub.source("sums.py"), "no spread")


@check(item="spread", points=1)
def misspells(sub):
    """The spread is a difference."""
    sub.call("sums:spraed", numbers(sub))
'''
FOUND = {
    "looks_at_nothing": ["nothing", "input", "zeros", "constant"],
    "tolerates_everything": ["zeros", "constant"],
    "asks_the_same_always": ["cached"],
    "expects_zero": ["zeros"],
}


@pytest.fixture
def assignment(sample_course):
    checks = sample_course / "source" / "hw1" / "checks"
    (checks / "part1_public.py").write_text(CHECKS)
    (checks / "part1_hidden.py").unlink()
    return Course.load(sample_course).assignment("hw1")


@pytest.fixture
def tried(assignment, examiner, monkeypatch):
    """Return a function that gives the problems, and the names of the checks that were tried for it."""
    outcome, names = trials.Trial.outcome, []

    def noted(self, check):
        names.append(check.name)
        return outcome(self, check)

    monkeypatch.setattr(trials.Trial, "outcome", noted)

    def run():
        names.clear()
        found = trials.problems(assignment.source.parents[1], assignment, examiner, lambda name, count: None)
        return found, set(names)

    return run


def says(sentence, name, kind):
    return f": {name} passes {trials.STAND_INS[kind]}; " in sentence and f"{kind!r}: '...'" in sentence


def test_each_check_that_cannot_fail_is_named_with_what_it_passes_and_a_second_release_is_fast(
    tried, assignment
):
    found, names = tried()
    passed = {
        name: [kind for kind in trials.STAND_INS if any(says(one, name, kind) for one in found)]
        for name in names
    }
    assert {name: kinds for name, kinds in passed.items() if kinds} == FOUND
    (misspelt,) = (one for one in found if "misspells" in one)
    assert "does not pass the reference solution: fail: " in misspelt
    assert "sums.py defines no function spraed" in misspelt
    assert len(found) == sum(map(len, FOUND.values())) + 1

    again, names = tried()
    assert again == found
    assert names == {"misspells"}  # what broke is always tried again
    path = assignment.part(1).checks_public
    path.write_text(CHECKS.replace("spraed", "spread").replace('"zeros": "a reason", ', ""))
    found, names = tried()
    assert names == {"misspells", "tolerates_everything_and_says_why"}
    assert any(says(one, "tolerates_everything_and_says_why", "zeros") for one in found)


def test_what_the_reference_imports_of_packages_that_all_have_a_zygote_will_import(assignment, examiner):
    root, sums = assignment.source.parents[1], assignment.source / "sums.py"
    lazily = "    import colorsys, torch.utils.flop_counter\n    accumulated"
    sums.write_text(sums.read_text().replace("    accumulated", lazily, 1))
    assert records.kept_modules(root, "hw1") is None
    trials.problems(root, assignment, examiner, lambda name, count: None)
    kept = records.kept_modules(root, "hw1")
    assert "torch.utils.flop_counter" in kept
    assert not [name for name in kept if name.partition(".")[0] not in ("torch", "numpy")]


@pytest.mark.drawn(3)
def test_the_command_releases_nothing_where_a_check_cannot_fail_unless_it_is_told_to(
    sample_course, one_examiner, monkeypatch
):
    monkeypatch.chdir(sample_course)
    result = CliRunner().invoke(app, ["release", "hw1"])
    said = str(result.exception)
    assert "part1_public.py: total_adds passes a table of earlier answers" in said
    assert "part1_hidden.py: spread_of_equal_numbers_secretly passes answers whose every number is 0" in said
    assert said.endswith("Nothing was released; --no-trials releases hw1 all the same")
    assert not (sample_course / "release").exists()
    assert not (sample_course / "gradebook.db").exists()
    result = CliRunner().invoke(app, ["release", "hw1", "--no-trials"])
    assert result.exit_code == 0, result.output
    assert (sample_course / "release" / "hw1" / "sums.py").is_file()


def test_the_inputs_of_ranks_may_be_one_tensor(monkeypatch):
    monkeypatch.setattr(trials.Submission, "ranks", lambda *_, **__: None)
    asked = trials.Asked()
    watched = trials.Watched.__new__(trials.Watched)
    watched._asked = asked
    for number in (0, 1):
        watched.ranks("sync:average", world=2, per_rank=torch.full((2, 3), number))
    assert len(set(asked.digests)) == 2
