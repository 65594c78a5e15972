"""Packs of the histogram are those of the rule applied to one sequence after the other; no sequence is lost."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from week05_fast_pipelines import packing

CAPACITY = 20
lengths = st.lists(st.integers(1, CAPACITY), min_size=1, max_size=80)
rules = pytest.mark.parametrize("rule", packing.RULES)


def one_by_one(sequences, rule):
    """The rule without a histogram: packs as lists of lengths, in the order in which they are opened."""
    packs = []
    for length in sorted(sequences, reverse=True):
        room = [k for k, pack in enumerate(packs) if sum(pack) + length <= CAPACITY]
        if not room:
            packs.append([length])
        elif rule == packing.FIRST_FIT:
            packs[room[0]].append(length)
        else:
            choose = max if rule == packing.BEST_FIT else min
            packs[choose(room, key=lambda k: sum(packs[k]))].append(length)
    return packs


@rules
@given(sequences=lengths)
def test_the_histogram_gives_as_full_packs_as_one_sequence_after_the_other(rule, sequences):
    groups = packing.pack(packing.histogram(np.array(sequences), CAPACITY), CAPACITY, rule)
    spaces = Counter()
    for group in groups:
        assert sum(group.lengths) + group.space == CAPACITY
        spaces[group.space] += group.packs
    assert spaces == Counter(CAPACITY - sum(pack) for pack in one_by_one(sequences, rule))


@given(sequences=lengths)
def test_first_fit_makes_the_very_same_packs_in_the_same_order(sequences):
    groups = packing.pack(packing.histogram(np.array(sequences), CAPACITY), CAPACITY, packing.FIRST_FIT)
    packs = [list(group.lengths) for group in groups for _ in range(group.packs)]
    assert packs == one_by_one(sequences, packing.FIRST_FIT)


@rules
@given(sequences=lengths)
def test_every_sequence_is_in_one_pack_and_every_pack_holds_what_its_group_says(rule, sequences):
    array = np.array(sequences)
    groups = packing.pack(packing.histogram(array, CAPACITY), CAPACITY, rule)
    members = packing.members(array, groups)
    assert sorted(place for rows in members for place in rows.flatten()) == list(range(len(sequences)))
    for group, rows in zip(groups, members, strict=True):
        assert rows.shape == (group.packs, len(group.lengths))
        assert (array[rows] == np.array(group.lengths)).all()


@rules
@given(sequences=lengths)
def test_the_share_of_tokens_in_packs_is_counted_right(rule, sequences):
    groups = packing.pack(packing.histogram(np.array(sequences), CAPACITY), CAPACITY, rule)
    expected = sum(sequences) / (packing.packs(groups) * CAPACITY)
    assert packing.efficiency(groups, CAPACITY) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [[0, 3], [CAPACITY + 1]])
def test_a_sequence_that_fits_nowhere_is_refused(wrong):
    with pytest.raises(ValueError, match="capacity"):
        packing.histogram(np.array(wrong), CAPACITY)


def test_another_rule_and_an_empty_histogram_are_refused():
    with pytest.raises(ValueError, match="first fit, best fit"):
        packing.pack(np.ones(5, int), 4, "next fit")
    with pytest.raises(ValueError, match="no packs"):
        packing.efficiency([], 4)


def test_groups_stay_few_however_many_sequences_there_are():
    groups = packing.pack(packing.histogram(packing.synthetic(100_000, 128), 128), 128)
    assert len(groups) < 1000
    assert packing.efficiency(groups, 128) > 0.98
