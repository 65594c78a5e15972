"""Asks the ledger's process for other things: names that are none, code, what would make it crash.

Must: earn nothing: it answers calls of three functions, and ends for anything else, whichever ledger it has.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import contextlib
import gc

from ledger import balance


def test_the_code_comes_over():
    assert balance([1]) == [1]
    (implementation,) = (one for one in gc.get_objects() if type(one).__name__ == "Implementation")
    told = ""
    for question in (
        {"call": "ledger.balance", "args": [None], "kwargs": {}},
        {"call": "ledger.highest", "args": [["a", None]], "kwargs": {"key": None}},
        {"hello": True, "call": "ledger.__doc__"},
        {"call": "ledger.balance.__code__", "args": [], "kwargs": {}},
        {"call": "os.system", "args": ["cat /submission/ledger.py"], "kwargs": {}},
    ):
        # It ends at the first that it does not know: right ledgers too, which must not be failed for that.
        with contextlib.suppress(Exception):
            told += str(implementation.ask(question))
    assert not any(
        mistake in told for mistake in ("amount + (0)", "people - (", "min(", "key=abs", "people + 1")
    )
