"""Small matrix expressions: their values, their fingerprints modulo a prime, and a normal form that proves equality.

An expression is an input's name, or a tuple of an operator and its operands:

    ("add", ("matmul", "X", "W"), "B")

The operators are matmul, add, times (element by element), transpose, f (one function, whichever, applied to each
element: a rule about f holds for ReLU, GELU and sigmoid at once), beside (two matrices, one right of the other) and
above (one on top of the other).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Expression = str | tuple[Any, ...]
Dims = tuple[str, ...]
Type = tuple[Dims, Dims]
"""Rows and columns, each as the named pieces that it is made of: (("batch",), ("q", "k", "v"))."""

UNARY = ("transpose", "f")
BINARY = ("matmul", "add", "times", "beside", "above")
COMMUTE = ("add", "times")
PRIME = 2**29 - 3
"""Products of two residues and sums of eight of them fit into 64 bits."""


class IllTyped(ValueError):
    """Operands whose sizes do not fit."""


def size(expression: Expression) -> int:
    """Operators in an expression."""
    return 0 if isinstance(expression, str) else 1 + sum(size(e) for e in expression[1:])


def inputs(expression: Expression) -> list[str]:
    """Names of inputs, in the order in which they first stand there."""
    if isinstance(expression, str):
        return [expression]
    return list(dict.fromkeys(name for e in expression[1:] for name in inputs(e)))


def text(expression: Expression) -> str:
    """An expression for people: ``(X @ W) + B``."""
    if isinstance(expression, str):
        return expression
    signs = {"matmul": " @ ", "add": " + ", "times": " * ", "beside": " | ", "above": " / "}
    operator, *operands = expression
    words = [text(e) if isinstance(e, str) or e[0] in UNARY else f"({text(e)})" for e in operands]
    if operator == "transpose":
        return words[0] + "ᵀ"
    if operator == "f":
        return f"f({text(operands[0])})"
    return signs[operator].join(words)


def typed(operator: str, *types: Type) -> Type:
    """The type of a result. Raises IllTyped where the operands do not fit, ValueError for an unknown operator."""
    if operator == "f":
        return types[0]
    if operator == "transpose":
        return types[0][1], types[0][0]
    if operator not in BINARY:
        raise ValueError(f"{operator!r} is no operator; there are {', '.join(UNARY + BINARY)}")
    (rows, columns), (rows_2, columns_2) = types
    if operator == "matmul" and columns == rows_2:
        return rows, columns_2
    if operator in COMMUTE and types[0] == types[1]:
        return types[0]
    if operator == "beside" and rows == rows_2:
        return rows, columns + columns_2
    if operator == "above" and columns == columns_2:
        return rows + rows_2, columns
    raise IllTyped(f"{operator} does not take {types[0]} and {types[1]}")


def type_of(expression: Expression, types: Mapping[str, Type]) -> Type:
    """The type of an expression whose inputs have these types. Raises IllTyped."""
    if isinstance(expression, str):
        return types[expression]
    return typed(expression[0], *(type_of(e, types) for e in expression[1:]))


def evaluate(expression: Expression, values: Mapping[str, Any], operators: Mapping[str, Callable[..., Any]]):
    """The value of an expression: ``operators`` says what each operator does with values."""
    if isinstance(expression, str):
        return values[expression]
    return operators[expression[0]](*(evaluate(e, values, operators) for e in expression[1:]))


# ---- fingerprints


def scrambled(x: np.ndarray, prime: int) -> np.ndarray:
    """A function of residues that has no structure: it stands for whatever f may be (the mixer of SplitMix64)."""
    z = x.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) % np.uint64(prime)).astype(np.int64)


def residues(prime: int) -> dict[str, Callable[..., np.ndarray]]:
    """What each operator does with matrices of whole numbers modulo a prime: exactly."""
    return {
        "matmul": lambda a, b: a @ b % prime,
        "add": lambda a, b: (a + b) % prime,
        "times": lambda a, b: a * b % prime,
        "transpose": np.transpose,
        "f": lambda a: scrambled(a, prime),
        "beside": lambda a, b: np.concatenate([a, b], axis=1),
        "above": lambda a, b: np.concatenate([a, b], axis=0),
    }


def random_inputs(names: Sequence[str], side: int, prime: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A square matrix of random residues for each name."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, prime, (side, side)) for name in names}


def fingerprint(value: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    """What two values share if they are equal, to be used as a key."""
    return value.shape, value.tobytes()


# ---- the normal form

Word = tuple[Any, ...]
"""A product of letters. A letter is an input or its transpose, f of a sum, or an element-wise product of words."""
Sum = tuple[tuple[Word, int], ...]
"""Words, each with how often it is added, sorted."""


def _letter(*letter: Any) -> Sum:
    return (((letter,), 1),)


def _sum(counts: Mapping[Word, int]) -> Sum:
    return tuple(sorted(((word, n) for word, n in counts.items() if n), key=repr))


def _product(a: Sum, b: Sum, join: Callable[[Word, Word], Word]) -> Sum:
    """Multiply out: each word of one sum with each word of the other."""
    counts: dict[Word, int] = {}
    for word, n in a:
        for other, m in b:
            both = join(word, other)
            counts[both] = counts.get(both, 0) + n * m
    return _sum(counts)


def _add(a: Sum, b: Sum) -> Sum:
    counts = dict(a)
    for word, n in b:
        counts[word] = counts.get(word, 0) + n
    return _sum(counts)


def _element_wise(a: Word, b: Word) -> Word:
    """The order of an element-wise product does not matter: its factors are sorted."""
    factors = []
    for word in (a, b):
        factors += word[0][1] if len(word) == 1 and word[0][0] == "times" else (word,)
    return (("times", tuple(sorted(factors, key=repr))),)


@functools.cache
def _turned(a: Sum) -> Sum:
    """The transpose: words backwards, each letter transposed."""
    counts: dict[Word, int] = {}
    for word, n in a:
        turned = tuple(_turned_letter(letter) for letter in reversed(word))
        counts[turned] = counts.get(turned, 0) + n
    return _sum(counts)


def _turned_letter(letter: tuple[Any, ...]) -> tuple[Any, ...]:
    kind, content = letter[:2]
    if kind == "input":
        return "input", content, not letter[2]
    if kind == "f":
        return "f", _turned(content)
    words = (_turned(((word, 1),))[0][0] for word in content)
    return "times", tuple(sorted(words, key=repr))


def _dot(row: Sequence[Sum], column: Sequence[Sum]) -> Sum:
    terms = (_product(a, b, lambda x, y: x + y) for a, b in zip(row, column, strict=True))
    return functools.reduce(_add, terms)


Blocks = tuple[tuple[Sum, ...], ...]


def _combine(operator: str, parts: Sequence[Blocks]) -> Blocks:
    a, b = parts[0], parts[-1]
    if operator == "transpose":
        return tuple(tuple(_turned(block) for block in column) for column in zip(*a, strict=True))
    if operator == "f":
        return tuple(tuple(_letter("f", block) for block in row) for row in a)
    if operator == "beside":
        return tuple(left + right for left, right in zip(a, b, strict=True))
    if operator == "above":
        return a + b
    if operator == "matmul":
        return tuple(tuple(_dot(row, column) for column in zip(*b, strict=True)) for row in a)
    pair = _add if operator == "add" else functools.partial(_product, join=_element_wise)
    return tuple(tuple(map(pair, *rows)) for rows in zip(a, b, strict=True))


def normal_form(expression: Expression, known: dict[Expression, Blocks] | None = None) -> Blocks:
    """The blocks of an expression, each multiplied out to a sum of words.

    Two expressions of one type with the same normal form are equal for all sizes, all numbers and every f: each step
    uses only that sums commute, that products are associative and distribute over sums, that element-wise products
    commute, (AB)ᵀ = BᵀAᵀ, and that f and sums work element by element.

    ``known`` keeps the normal forms of parts, for those who ask often.
    """
    known = {} if known is None else known
    if expression not in known:
        if isinstance(expression, str):
            known[expression] = ((_letter("input", expression, False),),)
        else:
            known[expression] = _combine(expression[0], [normal_form(e, known) for e in expression[1:]])
    return known[expression]


def proven(a: Expression, b: Expression, types: Mapping[str, Type]) -> bool:
    """Whether the normal forms prove that two expressions are equal, for inputs of these types.

    Raises IllTyped if one of them cannot be computed.
    """
    return type_of(a, types) == type_of(b, types) and normal_form(a) == normal_form(b)
