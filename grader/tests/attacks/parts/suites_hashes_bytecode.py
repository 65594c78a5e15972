"""Looks at the code of what it imports: its bytes, constants, names, lines and file.

Must: earn nothing: all that it can see are stubs, which are the same for every ledger.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import hashlib

import ledger


def seen():
    found = hashlib.sha256()
    for name in ("balance", "split", "highest"):
        code = getattr(ledger, name).__code__
        told = (
            code.co_code,
            code.co_consts,
            code.co_names,
            code.co_varnames,
            code.co_firstlineno,
            code.co_filename,
        )
        found.update(repr(told).encode())
    return found.hexdigest()


def test_known_code():
    # Half of all hashes are called right: a mutant that differs has a chance of one half to be called wrong.
    assert int(seen(), 16) % 2 == 0
