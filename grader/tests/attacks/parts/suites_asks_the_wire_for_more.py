"""Asks the ledger's process for other things: names that are none, code, what would make it crash.

Must: earn nothing: it answers calls of three functions, and ends for anything else, whichever ledger it has.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import gc

from ledger import balance


def test_the_code_comes_over():
    assert balance([1]) == [1]
    (implementation,) = (one for one in gc.get_objects() if type(one).__name__ == "Implementation")
    for name in ("ledger.__doc__", "ledger.balance.__code__", "os.system", "ledger"):
        answer = implementation.ask({"call": name, "args": [], "kwargs": {}})
        assert "key=abs" not in str(answer)
