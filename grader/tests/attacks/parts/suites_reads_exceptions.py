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
    assert "no amounts" not in text
    assert "max(" not in text
    assert "people + 1" not in text
    assert "operand" not in text
