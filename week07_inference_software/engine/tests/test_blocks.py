"""The pool never loses a block, never hands one out twice, and never lets one sequence write into another's."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from week07_inference_software.engine import BlockPool, OutOfBlocks

SIZE, BLOCKS = 4, 12


class PoolMachine(RuleBasedStateMachine):
    """Sequences that grow, shrink, fork, write and end in any order, beside a model of what their blocks hold."""

    def __init__(self):
        super().__init__()
        self.pool = BlockPool(BLOCKS, SIZE)
        self.tables: list[list[int]] = []
        self.tokens: list[list[int]] = []
        self.content: dict[tuple[int, int], int] = {}  # (block, offset) to the token written there

    def pick(self, data) -> int:
        return data.draw(st.integers(0, len(self.tables) - 1))

    @rule(tokens=st.lists(st.integers(0, 1), max_size=14))
    def begin(self, tokens):
        table = self.pool.match(tokens)
        assert len(table) * SIZE <= len(tokens)
        known = tokens[: len(table) * SIZE]
        assert known == [self.content[table[n // SIZE], n % SIZE] for n in range(len(known))], (
            "wrong prefix shared"
        )
        self.tables.append(table)
        self.tokens.append(known)

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9))
    def write(self, data, tokens):
        which = self.pick(data)
        table, old = self.tables[which], self.tokens[which]
        before, available = list(table), self.pool.available
        copies = self.pool.shared(table, len(old))
        if self.pool.needed(table, len(old) + len(tokens)) + copies > available:
            if not copies:
                with pytest.raises(OutOfBlocks):
                    self.pool.grow(table, len(old) + len(tokens))
                assert table == before
                assert self.pool.available == available
            return
        if copies:
            source, target = self.pool.own(table, len(old))
            for offset in range(SIZE):
                self.content[target, offset] = self.content.get((source, offset), -1)
        self.pool.grow(table, len(old) + len(tokens))
        for n, token in enumerate(tokens, len(old)):
            self.content[table[n // SIZE], n % SIZE] = token
        old.extend(tokens)
        self.pool.publish(table, old)

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def fork(self, data):
        which = self.pick(data)
        self.tables.append(self.pool.fork(self.tables[which]))
        self.tokens.append(list(self.tokens[which]))

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def end(self, data):
        which = self.pick(data)
        self.tokens.pop(which)
        self.pool.release(self.tables.pop(which))

    @invariant()
    def no_block_is_lost_or_held_twice(self):
        self.pool.check(self.tables)

    @invariant()
    def every_sequence_reads_what_it_wrote(self):
        for table, tokens in zip(self.tables, self.tokens, strict=True):
            assert tokens == [self.content[table[n // SIZE], n % SIZE] for n in range(len(tokens))]
            assert 0 <= len(table) * SIZE - len(tokens) < SIZE, (
                "a sequence holds a block that it does not need"
            )


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)


def test_a_kept_block_whose_beginning_was_given_away_is_not_found():
    pool = BlockPool(4, 2)
    table = []
    pool.grow(table, 4)
    pool.publish(table, [1, 2, 3, 4])
    pool.release(table)
    assert len(pool.match([1, 2, 3, 4])) == 2
    pool.check([[1, 2]])


def test_the_end_of_a_kept_prefix_is_given_away_before_its_beginning():
    pool = BlockPool(4, 2)
    first, second = [], []
    pool.grow(first, 6)
    pool.publish(first, [1, 2, 3, 4, 5, 6])
    pool.release(first)
    pool.grow(second, 2)
    assert len(pool.match([1, 2, 3, 4, 5, 6])) == 2


def test_a_pool_that_keeps_nothing_finds_nothing():
    pool = BlockPool(4, 2, keep=False)
    table = []
    pool.grow(table, 2)
    pool.publish(table, [1, 2])
    pool.release(table)
    assert pool.match([1, 2]) == []
    assert not pool.kept


def test_bad_sizes_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="two blocks"):
        BlockPool(1, 16)
