"""Calls functions with what they do not take, and reads in the exceptions what stands in the code.

Must: earn nothing: messages stay in the ledger's process.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import traceback

import ledger


def told():
    found = []
    for name in ("balance", "split", "highest"):
        for value in (None, "x", [None], [["a"]], 3.5, {}):
            try:
                getattr(ledger, name)(value)
            except Exception as error:
                found.append("".join(traceback.format_exception(error)) + str(error.args))
    return "".join(found)


def test_nothing_of_the_code_is_told():
    text = told()
    mistakes = "amount + (0)", "people - (", "min(", "key=abs", "people + 1", "bad operand type for abs"
    assert not any(mistake in text for mistake in mistakes)
