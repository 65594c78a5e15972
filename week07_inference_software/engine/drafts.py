"""Speculative decoding: somebody cheap guesses the next tokens, and the model checks all guesses in one pass.

A pass over k + 1 rows of a sequence takes hardly longer than over one row, as long as the weights' way through the
cache is what takes the time. The engine draws its own token at each of these rows, as it would have anyway; guesses
that equal them are right, and the first wrong one ends the step. So the completion is the same as without a draft, at
any temperature. A token x is accepted with the probability p(x) that the model gives it, which is what the rejection
rule of Leviathan et al. (Fast inference from transformers via speculative decoding, 2023) gives a draft that is sure.
"""

from collections.abc import Callable, Sequence

Draft = Callable[[Sequence[int], int], list[int]]
"""(tokens so far, number of guesses) to at most so many guesses."""


def lookup(most: int = 3) -> Draft:
    """Guess what followed the last tokens when they stood here before (prompt lookup; Saxena 2023).

    It looks for the last `most` tokens, then for fewer, from the end. No model is asked, and no guess is made where
    nothing is found.
    """

    def guess(tokens: Sequence[int], count: int) -> list[int]:
        for length in range(min(most, len(tokens) - 1), 0, -1):
            end = list(tokens[-length:])
            for start in range(len(tokens) - length - 1, -1, -1):
                if tokens[start] == end[0] and list(tokens[start : start + length]) == end:
                    return list(tokens[start + length : start + length + count])
        return []

    return guess
