"""Configurations: pure functions that agree with Hydra, and refuse what nobody reads."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week09_experiment_tracking import configuration, hydra_peer
from week09_experiment_tracking.configuration import FILES, BadConfig, Sgd, compose

LEAVES = st.integers() | st.text(max_size=3) | st.booleans()
TREES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
DICTS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


@given(DICTS, DICTS, DICTS)
def test_merging_is_associative_and_changes_neither_tree(one, two, three):
    kept = copy.deepcopy((one, two, three))
    merge = configuration.merge
    assert merge(merge(one, two), three) == merge(one, merge(two, three)) or _tree_over_leaf(one, two, three)
    assert merge(one, {}) == one == merge({}, one)
    assert (one, two, three) == kept


def _tree_over_leaf(one, two, three) -> bool:
    """Where a leaf stands between two trees, the order of merging shows: the leaf forgets the first tree."""
    shared = set(one) & set(two) & set(three)
    dicts = [[isinstance(tree[key], dict) for tree in (one, two, three)] for key in shared]
    nested = any(
        all(row) and _tree_over_leaf(one[k], two[k], three[k]) for k, row in zip(shared, dicts, strict=True)
    )
    return [True, False, True] in dicts or nested


def test_random_overrides_give_the_trees_of_hydra(tmp_path):
    pytest.importorskip("hydra")
    assert hydra_peer.disagreements(hydra_peer.write(tmp_path), 12) == []


def test_misspelt_overrides_are_refused_by_hydra_and_by_us_and_taken_by_open_trees(tmp_path):
    pytest.importorskip("hydra")
    wrong = hydra_peer.misspelt(1, 8)
    taken = hydra_peer.accepted(hydra_peer.write(tmp_path), wrong)
    assert list(taken.values()) == [8, 8, 0, 0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.lrr=1"], "did you mean optimizer.lr"),
        (["+optimizer.lr=1"], "already there"),
        (["~optimizer.nothing"], "not there"),
        (["model=huge"], "small, wide"),
        (["warmup=${nowhere}"], "points to nothing"),
        (["epochs=${warmup}"], "circle"),
    ],
)
def test_a_mistake_is_named(overrides, words):
    with pytest.raises(BadConfig, match=words):
        compose(FILES, overrides)


def test_a_reference_keeps_its_type_alone_and_is_text_within_text():
    tree = compose(FILES, ["epochs=3", "seed=4"])
    assert (tree["warmup"], tree["name"]) == (3, "mlp-sgd-4")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"kind": "sgd"}, "lr is missing"),
        ({"kind": "sgd", "lr": "0.1"}, "must be float"),
        ({"kind": "sgd", "lr": True}, "must be float"),
        ({"kind": "sgd", "lr": 0.1, "nesterov": True}, "read by nobody"),
        ({"kind": "sgd", "lr": 11}, "between 0 and 10"),
    ],
)
def test_a_schema_refuses_what_it_does_not_mean(tree, words):
    with pytest.raises(BadConfig, match=words):
        configuration.validate(Sgd, tree)


def test_a_schema_takes_an_integer_for_a_float_and_fills_defaults():
    assert configuration.validate(Sgd, {"kind": "sgd", "lr": 1}) == Sgd("sgd", 1.0, 0.0)


def test_a_sweep_has_every_combination_once():
    assert configuration.sweep(["a=1,2", "b=x"]) == [["a=1", "b=x"], ["a=2", "b=x"]]
    assert len(configuration.sweep(["a=1,2", "b=1,2,3", "c=0"])) == 6


def test_a_hash_does_not_see_the_order_of_keys_and_sees_every_value():
    assert configuration.digest({"a": 1, "b": 2}) == configuration.digest({"b": 2, "a": 1})
    assert (
        configuration.digest({"a": 1}) != configuration.digest({"a": 1.5}) != configuration.digest({"a": "1"})
    )
