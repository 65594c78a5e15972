"""Lecture 2's tests of tests: the kit passes its pool, every bug is an edit that still fits, mutants are faults."""

import ast

import numpy as np
import pytest

from week09_experiment_tracking.evidence import kit, mutate, pool, record, score, trial

SOURCE = trial.KIT.read_text(encoding="utf-8")


@pytest.mark.parametrize("test", pool.POOL, ids=lambda test: test.name)
def test_the_kit_as_it_is_passes(test):
    test.run(kit)


@pytest.mark.parametrize("name", list(record.bugs()))
def test_a_real_bug_is_an_edit_of_one_place_with_a_thread(name):
    bug = record.bugs()[name]
    changed = record.with_bug(bug["edits"])
    compile(changed, name, "exec")
    assert changed != SOURCE
    assert bug["thread"].startswith("https://github.com/")


def test_an_edit_that_fits_nowhere_is_refused():
    with pytest.raises(ValueError, match="occurs 0 times"):
        record.with_bug([["no such text", ""]])


def test_every_mutant_is_a_module_that_differs_in_its_function_only():
    original = {node.name: ast.dump(node) for node in ast.parse(_plain(SOURCE)).body if hasattr(node, "name")}
    found = mutate.mutants(SOURCE)
    assert len({mutant.source for mutant in found}) >= 0.98 * len(found)
    for mutant in found:
        tree = {node.name: ast.dump(node) for node in ast.parse(mutant.source).body if hasattr(node, "name")}
        assert {name for name in original if tree[name] != original[name]} == {mutant.about}


def _plain(source: str) -> str:
    """The source without docstrings, as mutants are written."""
    tree = ast.parse(source)
    mutate._without_docstrings(tree)
    return ast.unparse(tree)


def test_a_small_function_has_the_mutants_that_one_counts_by_hand():
    source = "def f(a, b):\n    if a < b and b:\n        a += 1\n    return min(a, -b)\n"
    assert sorted(f"{m.old} -> {m.new}" for m in mutate.mutants(source)) == sorted(
        [
            "a < b -> a <= b",
            "a < b -> a >= b",
            "a < b and b -> a < b or b",
            "if a < b and b -> if True",
            "if a < b and b -> if False",
            "a += 1 -> a -= 1",
            "1 -> 2",
            "1 -> -1",
            "a += 1 -> (left out)",
            "min -> max",
            "-b -> +b",
        ]
    )


def test_a_worker_judges_right_wrong_endless_and_deadly_kits():
    endless = SOURCE.replace("        start += size\n", "        pass\n")
    deadly = SOURCE.replace("    start = 0\n", "    import os\n    os._exit(3)\n")
    kits = {"right": SOURCE, "endless": endless, "deadly": deadly, "broken": "x = 1 / 0"}
    tests = ["ten_by_five_are_two_batches", "an_order_has_all_places"]
    found = trial.outcomes(kits, tests, workers=1)
    failed = {kit: [found[kit][test][0] for test in tests] for kit in kits}
    assert failed["right"] == [False, False]
    assert failed["endless"][0]
    assert not failed["endless"][1]
    assert failed["deadly"][0]
    assert failed["broken"] == [True, True]


def test_the_recorded_run_belongs_to_this_kit_and_this_pool():
    kills = record.recorded()
    assert kills.of_mutants.shape == (len(pool.POOL), len(kills.mutants))
    assert kills.of_bugs.shape == (len(pool.POOL), len(record.bugs()))


def test_named_equivalent_mutants_survived_all_tests():
    assert set(score.EQUIVALENT) <= set(score.survivors(record.recorded()))


def test_a_bound_lets_the_stated_share_of_normal_numbers_through():
    values = np.random.default_rng(0).normal(3, 2, 200_000)
    assert (values > score.bound_for(values, 0.01)).mean() == pytest.approx(0.01, rel=0.1)


def test_correlation_is_one_where_bugs_are_the_mutants_again():
    rng = np.random.default_rng(0)
    failed = rng.random((20, 60)) < 0.1
    same = record.Kills([str(i) for i in range(20)], ["x"] * 20, [None] * 60, ["b"] * 60, failed, failed)
    value, low, high = score.correlation(same, score.suites(20, 100, range(2, 15)), draws=50)
    assert value == pytest.approx(1)
    assert low <= high <= 1
    assert low > 0.8
