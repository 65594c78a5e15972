"""What a machine without namespaces and control groups says: less, named so, and never a pass in its place."""

import numpy as np
import pytest
import torch

from grader.checks import Failed, expect_slope_at_most, expect_traffic
from grader.examine import weaker
from grader.examine.checks import gather
from grader.tests.examine.test_measured import COLLECTIVES, MIB, RING, STACK, STAR

pytestmark = pytest.mark.alone


@pytest.fixture
def plain(examiner, submit, monkeypatch):
    """Return `submit`, on a machine without isolation."""
    monkeypatch.setattr(examiner.place, "isolated", False)
    monkeypatch.setattr(examiner.place, "cgroups", None)
    return submit


@pytest.mark.parametrize(("function", "expected"), [("ring", RING), ("gather_and_broadcast", STAR)])
def test_bytes_are_those_of_the_ranks_sockets(plain, function, expected):
    tensors = torch.randn(4, 100_000)
    with gather() as evidence:
        run = plain(COLLECTIVES).ranks(f"work:{function}", world=4, per_rank=tensors)
        assert np.abs(np.array(run.sent) / tensors[0].nbytes - expected).max() < 0.03
        assert {"how bytes were counted": weaker.BYTES}.items() <= {
            entry["name"]: entry["value"] for entry in evidence.measured
        }.items()
        expect_traffic(run.network_bytes, tensors[0].nbytes, of="sizes", at_most=6.1, at_least=5.9)
    assert not evidence.missing


def test_peak_memory_is_that_of_the_processes(plain):
    sub = plain(STACK)
    with gather() as evidence:
        line = sub.slope(lambda depth: sub.call("work:checkpointed", depth), (2, 5, 8))
        expect_slope_at_most(line, 4 * MIB, fixed=150 * MIB, of="MiB per block", unit=MIB)
        line = sub.slope(lambda depth: sub.call("work:plain", depth), (2, 5, 8))
        with pytest.raises(Failed, match="MiB per block"):
            expect_slope_at_most(line, 4 * MIB, fixed=150 * MIB, of="MiB per block", unit=MIB)
    assert evidence.measured[0]["value"] == weaker.MEMORY


def test_where_nothing_is_told_nothing_passes(plain, monkeypatch):
    monkeypatch.setattr(weaker, "processes", lambda first: {})  # as without /proc
    sub = plain(COLLECTIVES + "\ndef idle(size): return size\n")
    with gather() as evidence:
        run = sub.ranks("work:ring", world=2, per_rank=torch.randn(2, 1000))
        assert run.sent is run.packets is run.peak_memory is None
        expect_traffic(run.network_bytes, 4000, of="sizes", at_most=2.2)
        line = sub.slope(lambda size: sub.call("work:idle", size), (1, 2, 3))
        expect_slope_at_most(line, MIB, fixed=MIB, of="MiB")
    assert {what for told in evidence.missing.values() for what in told} == {"sizes", "peak memory"}


MEASURES = """
from grader.checks import check, expect_traffic
@check(item="total", points=2)
def bytes_are_bounded(sub):
    '''Bytes.'''
    run = sub.ranks("driver:idle", world=2)
    expect_traffic(run.network_bytes, 1000, of="sizes sent", at_most=10.0)
"""


def test_a_check_that_could_not_measure_gives_no_points_and_the_word_is_never_cut(
    plain, examiner, sample_course, monkeypatch
):
    from grader.course import Course
    from grader.notebooks import verdicts
    from grader.steps import terminal

    part = Course.load(sample_course).assignment("hw1").part(1)
    part.checks_hidden.write_text(MEASURES)
    part.driver.write_text("def idle(rank, size): return rank\n")
    monkeypatch.setattr(weaker, "processes", lambda first: {})
    report = examiner.examine(part, part.source, names=["total_adds", "bytes_are_bounded"])
    passed, result = report.checks
    assert (passed.verdict, passed.points) == ("pass", 1)
    assert (result.verdict, result.points, result.max_points) == ("not measured", 0, 2)
    assert report.points("total") == 1
    reason = "sizes sent: no network namespaces on this machine; the grader has them"
    assert result.why == reason
    assert terminal.explain(result) == [f"not measured here, no points: {reason}"]
    assert terminal.summary(report) == (
        "1 of 3 points from these checks. 2 were not measured: this machine lacks what it takes."
    )
    assert "? not measured (0 of 2)" in verdicts.as_text(report.checks)
    assert "?&nbsp;not&nbsp;measured" in verdicts.as_html(report.checks)
