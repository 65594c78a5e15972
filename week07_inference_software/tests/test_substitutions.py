"""Proposals, verdicts, rules and the search; what is found must compute what was written."""

import numpy as np
import pytest
import torch

from week07_inference_software import substitutions as subs
from week07_inference_software.expressions import PRIME, evaluate, normal_form, random_inputs, residues, size

NAMES = "ABC"
EXPRESSIONS = subs.enumerate_expressions(NAMES, 2)
PAIRS = subs.proposals(EXPRESSIONS, random_inputs(NAMES, 3, PRIME))
VERDICTS = subs.judge(PAIRS, NAMES)
RULES = subs.shortest_rules(VERDICTS.proven)
COINCIDENCE = (
    ("times", "A", ("transpose", ("matmul", "A", "A"))),
    ("times", ("matmul", "A", "A"), ("transpose", "A")),
)


def test_enumeration_has_each_expression_once_and_parts_first():
    assert len(set(EXPRESSIONS)) == len(EXPRESSIONS)
    seen = set()
    for expression in EXPRESSIONS:
        assert isinstance(expression, str) or seen.issuperset(expression[1:])
        seen.add(expression)
    assert [sum(size(e) == n for e in EXPRESSIONS) for n in range(3)] == [3, 45, 900]


def test_equal_fingerprints_are_proposed_and_others_are_not():
    values, operators = random_inputs(NAMES, 3, PRIME), residues(PRIME)
    groups = {}
    for expression in EXPRESSIONS:
        groups.setdefault(evaluate(expression, values, operators).tobytes(), []).append(expression)
    assert len(PAIRS) == sum(len(group) - 1 for group in groups.values())


def test_all_that_agrees_on_three_by_three_is_proven_and_all_that_is_proven_agrees():
    assert not VERDICTS.refuted
    assert not VERDICTS.open
    forms = {}
    for expression in EXPRESSIONS:
        forms.setdefault(repr(normal_form(expression)), []).append(expression)
    assert sum(len(group) - 1 for group in forms.values()) == len(VERDICTS.proven)


def test_numbers_propose_what_the_proof_refuses():
    pairs = subs.proposals(EXPRESSIONS, random_inputs(NAMES, 1, PRIME))
    verdicts = subs.judge(pairs, NAMES)
    assert (("matmul", "A", "B"), ("matmul", "B", "A")) in verdicts.refuted
    assert len(verdicts.refuted) > len(verdicts.proven)


def test_the_coincidence_of_two_by_two_holds_for_every_such_matrix_and_is_refuted():
    operators = residues(PRIME)
    for seed in range(50):
        values = random_inputs("A", 2, PRIME, seed)
        assert np.array_equal(*(evaluate(side, values, operators) for side in COINCIDENCE))
    assert subs.judge([COINCIDENCE], "A").refuted == [COINCIDENCE]


def test_a_pair_without_proof_and_without_witness_stays_open():
    assert subs.judge([COINCIDENCE], "A", side=2).open == [COINCIDENCE]


def test_each_rule_is_proven_and_none_is_another_one_under_other_names():
    for a, b in RULES:
        assert normal_form(a) == normal_form(b)
    assert len({frozenset(subs.renamed(rule)) for rule in RULES}) == len(RULES)


def test_rewriting_changes_no_value():
    expression = ("add", ("matmul", ("transpose", "A"), ("add", "B", "C")), ("f", ("transpose", "A")))
    for new in subs.rewrites(expression, RULES):
        assert normal_form(new) == normal_form(expression)


DISTRIBUTE = (("matmul", "A", ("add", "B", "C")), ("add", ("matmul", "A", "B"), ("matmul", "A", "C")))
JOIN = (("matmul", "A", ("beside", "B", "C")), ("beside", ("matmul", "A", "B"), ("matmul", "A", "C")))
GROUP = (("matmul", "A", ("matmul", "B", "C")), ("matmul", ("matmul", "A", "B"), "C"))
USEFUL = [DISTRIBUTE, JOIN, GROUP]


def test_adapters_become_one_product_and_compute_the_same():
    graph = subs.adapters(batch=3, width=16, rank=2)
    found = subs.search(graph, USEFUL, patience=3.0)
    values = subs.random_values(graph)
    assert len(found.graph.work()) == 1
    assert found.cost < subs.cost(graph)
    results = [subs.runnable(g, values)(X=values["X"]) for g in (graph, found.graph)]
    assert torch.allclose(*results, atol=1e-5)
    assert torch.allclose(results[0], subs.AsModule(graph, values)(values["X"]), atol=1e-6)


def test_without_patience_the_search_never_goes_up():
    found = subs.search(subs.adapters(batch=1), USEFUL, patience=1.0)
    assert found.trail == sorted(found.trail, reverse=True)
    assert len(found.graph.work()) > 1


def test_thin_matrices_are_left_alone_although_a_rule_would_merge_them():
    thin = subs.low_rank(batch=16)
    assert subs.search(thin, USEFUL, patience=100.0).graph.expression == thin.expression


def test_a_wrong_rule_is_caught_where_it_is_used():
    wrong = (("add", "A", "B"), ("add", "A", "A"))
    with pytest.raises(ValueError, match="a rule is wrong"):
        subs.search(subs.adapters(batch=1), [*USEFUL, wrong])


def test_work_on_constants_is_free_and_repeated_work_counts_once():
    graph = subs.adapters(batch=2, width=8, rank=2)
    weights = ("add", "Wq", ("matmul", "Aq", "Bq"))
    twice = ("add", ("matmul", "X", weights), ("matmul", "X", weights))
    merged = subs.Graph(twice, graph.types, graph.sizes, graph.constants)
    assert [part[0] for part in merged.work()] == ["matmul", "add"]
