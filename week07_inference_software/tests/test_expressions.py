"""Types, fingerprints and the normal form, which is held against values in all its letters."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from week07_inference_software import expressions as ex
from week07_inference_software.expressions import PRIME, evaluate, normal_form, residues

SIZES = {"n": 2, "m": 3}
TYPES = {"A": (("n",), ("n",)), "B": (("n",), ("m",)), "C": (("m",), ("n",)), "D": (("n",), ("n",))}


def values(seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, PRIME, tuple(sum(SIZES[d] for d in dims) for dims in found))
        for name, found in TYPES.items()
    }


def of_sum(words, given_values):
    """The value of a sum of words, from nothing but its letters."""

    def of_letter(letter):
        if letter[0] == "input":
            value = given_values[letter[1]]
            return value.T if letter[2] else value
        if letter[0] == "f":
            return ex.scrambled(of_sum(letter[1], given_values), PRIME)
        return functools.reduce(lambda a, b: a * b % PRIME, (of_word(word) for word in letter[1]))

    def of_word(word):
        return functools.reduce(lambda a, b: a @ b % PRIME, map(of_letter, word))

    return sum(n * of_word(word) for word, n in words) % PRIME


@st.composite
def typed_expressions(draw, depth=3):
    """Well-typed expressions with up to depth operators above each other."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(sorted(TYPES)))
    operator = draw(st.sampled_from(ex.UNARY + ex.BINARY))
    parts = [draw(typed_expressions(depth=depth - 1)) for _ in range(1 if operator in ex.UNARY else 2)]
    expression = (operator, *parts)
    try:
        ex.type_of(expression, TYPES)
    except ex.IllTyped:
        return parts[0]
    return expression


@given(typed_expressions())
def test_blocks_of_the_normal_form_have_the_values_of_the_expression(expression):
    given_values = values()
    blocks = [[of_sum(block, given_values) for block in row] for row in normal_form(expression)]
    assert np.array_equal(np.block(blocks), evaluate(expression, given_values, residues(PRIME)))


@given(typed_expressions())
def test_shapes_are_those_of_the_type(expression):
    rows, columns = ex.type_of(expression, TYPES)
    shape = evaluate(expression, values(), residues(PRIME)).shape
    assert shape == (sum(SIZES[d] for d in rows), sum(SIZES[d] for d in columns))
    assert len(normal_form(expression)) == len(rows)


@given(typed_expressions(), typed_expressions())
def test_what_is_proven_has_the_same_values(a, b):
    if ex.type_of(a, TYPES) == ex.type_of(b, TYPES) and ex.proven(a, b, TYPES):
        for seed in range(3):
            both = [evaluate(e, values(seed), residues(PRIME)) for e in (a, b)]
            assert np.array_equal(*both)


SQUARE = dict.fromkeys("ABCD", (("n",), ("n",)))
EQUAL = [
    (("matmul", ("add", "A", "B"), "C"), ("add", ("matmul", "A", "C"), ("matmul", "B", "C"))),
    (("transpose", ("matmul", "A", "B")), ("matmul", ("transpose", "B"), ("transpose", "A"))),
    (
        ("matmul", ("beside", "A", "B"), ("above", "C", "D")),
        ("add", ("matmul", "A", "C"), ("matmul", "B", "D")),
    ),
    (("transpose", ("f", ("times", "A", "B"))), ("f", ("times", ("transpose", "B"), ("transpose", "A")))),
    (("times", ("times", "A", "B"), "C"), ("times", "B", ("times", "C", "A"))),
]
DIFFERENT = [
    (("matmul", "A", "B"), ("matmul", "B", "A")),
    (("f", ("add", "A", "B")), ("add", ("f", "A"), ("f", "B"))),
    (("matmul", "A", "B"), ("times", "A", "B")),
    (
        ("times", "A", ("transpose", ("matmul", "A", "A"))),
        ("times", ("matmul", "A", "A"), ("transpose", "A")),
    ),
    (("times", "A", ("matmul", "B", "C")), ("matmul", ("times", "A", "B"), "C")),
]


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_laws_of_matrices_are_proven(a, b):
    assert ex.proven(a, b, SQUARE)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_what_is_no_law_is_not_proven(a, b):
    assert not ex.proven(a, b, SQUARE)


def test_operands_that_do_not_fit_are_refused_and_so_is_an_unknown_operator():
    with pytest.raises(ex.IllTyped):
        ex.type_of(("add", "A", "B"), TYPES)
    with pytest.raises(ex.IllTyped):
        ex.type_of(("matmul", "B", "A"), TYPES)
    with pytest.raises(ValueError, match="no operator"):
        ex.type_of(("minus", "A", "A"), TYPES)


def test_expressions_are_written_as_people_write_them():
    expression = ("add", ("matmul", "X", "W"), ("transpose", ("f", "B")))
    assert ex.text(expression) == "(X @ W) + f(B)ᵀ"
    assert ex.size(expression) == 4
    assert ex.inputs(expression) == ["X", "W", "B"]


def test_no_sum_of_products_of_residues_overflows():
    largest = np.full((8, 8), PRIME - 1)
    exact = (8 * (PRIME - 1) ** 2) % PRIME
    assert (residues(PRIME)["matmul"](largest, largest) == exact).all()
