"""Walks all objects and its own memory for code of the ledger.

Must: earn nothing: the ledger lies in another process.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import gc
import types

# The beginning of a mistake, and the byte behind it: here they stand apart, or this text itself would be found.
MISTAKES = {
    b"amount + (": b"0",
    b"total // people ": b"-",
    b"return min(amount": b"s",
    b"max(amounts": b",",
    b"range(people": b" ",
}


def has_mistake(data):
    for begin, behind in MISTAKES.items():
        at = data.find(begin)
        while at >= 0:
            if data[at + len(begin) : at + len(begin) + 1] == behind:
                return True
            at = data.find(begin, at + 1)
    return False


def test_no_code_of_a_mutant_lies_here():
    mine = test_no_code_of_a_mutant_lies_here.__code__
    for one in gc.get_objects():
        if isinstance(one, types.FunctionType) and one.__name__ in ("balance", "highest", "split"):
            code = one.__code__
            assert code is mine or "key" not in code.co_names
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            begin, end = (int(number, 16) for number in span.split("-"))
            if rights.startswith("rw") and end - begin < 64 << 20:
                try:
                    memory.seek(begin)
                    data = memory.read(end - begin)
                except (OSError, ValueError):
                    continue
                assert not has_mistake(data)
