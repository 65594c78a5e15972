"""Submissions to homework 3 that look where they should compute."""

from pathlib import Path

import pytest

from grader.course import Course

PART = Course.load(Path(__file__).parents[1]).assignment("hw3_deployment").part(2)
PEEKS = """
import sys

KEPT = {}


def prefill(weights, prompts, heads):
    KEPT.update(at=len(prompts[0]), tokens=sys._getframe(1).f_locals["tokens"])
    KEPT["all"] = forward(weights, KEPT["tokens"][None], heads)[0]
    return KEPT["all"][KEPT["at"] - 1][None], None


def decode(weights, tokens, cache, heads):
    at = KEPT["at"]
    KEPT["at"] += 1
    if KEPT["tokens"][at] != tokens[0]:
        KEPT["tokens"][at] = tokens[0]
        KEPT["all"] = forward(weights, KEPT["tokens"][None], heads)[0]
    return KEPT["all"][at][None], None
"""


@pytest.mark.drawn(4)
@pytest.mark.alone
def test_tokens_that_lie_in_the_drivers_frame_are_no_cache(examiner, submission):
    """The whole text, computed at once in `prefill`, was as fast as a cache while its tokens were known by then."""
    text = (PART.source / "kv_cache.py").read_text(encoding="utf-8") + PEEKS
    folder = submission(PART, [("kv_cache.py", text)])
    (result,) = examiner.examine(PART, folder, names=["a_step_costs_one_token"]).checks
    assert result.verdict == "fail", result
    assert "times as fast" in result.why, result
