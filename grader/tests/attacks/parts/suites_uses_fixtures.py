"""Uses fixtures, temporary folders, parameters, classes and Hypothesis, as pytest offers them.

Must: earn everything.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 2

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger import balance, highest, split


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "amounts.json"
    path.write_text(json.dumps([4, -6, 1]))
    return json.loads(path.read_text())


class TestLedger:
    def test_balance(self, stored, capsys):
        assert balance(stored) == [4, -2, -1]

    @given(st.lists(st.integers(-50, 50), min_size=1, max_size=5))
    def test_highest(self, amounts):
        assert highest(amounts) in amounts
        assert all(highest(amounts) >= amount for amount in amounts)

    @pytest.mark.parametrize("people", [1, 2, 5])
    def test_split(self, people):
        parts = split(11, people)
        assert (sum(parts), len(parts)) == (11, people)
        assert max(parts) - min(parts) <= 1
