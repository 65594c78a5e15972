"""The paged cache's book-keeping: which block belongs to whom. No tensor is touched here.

A sequence's cache is cut into blocks of equal size, like a process's memory into pages, and a *block table* lists
them (Kwon et al., Efficient memory management for LLM serving with PagedAttention, 2023). A block is in one of
three states:

- *free*: its content means nothing;
- *used*: one or more sequences hold it, and it counts them;
- *kept*: nobody holds it, but it is full and its content is known, so that a prompt with the same beginning can
  take it back. When free blocks run out, the one that has been kept longest is given away.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence


class OutOfBlocks(Exception):
    """The pool has fewer blocks than were asked for; nothing was taken."""


class BlockPool:
    """Hands out blocks 1 to `blocks` - 1 (0 is scratch), shares them, and takes them back.

    Args:
        blocks: number of blocks in the cache, the scratch block included.
        size: tokens of a block.
        keep: whether full blocks are kept for prompts with the same beginning.
    """

    def __init__(self, blocks: int, size: int, keep: bool = True):
        if blocks < 2 or size < 1:
            raise ValueError(f"a pool needs two blocks (one is scratch) of one token, not {blocks} of {size}")
        self.size, self.keep, self.blocks = size, keep, blocks
        self.free = deque(range(1, blocks))
        self.holders: dict[int, int] = {}  # used blocks
        self.kept: OrderedDict[int, None] = OrderedDict()  # longest kept first
        # A full block's content is the tokens in it and all before: the serial number of the block before it, and
        # its own tokens. Serial numbers are not used twice, so that no block inherits another's followers.
        self.known: dict[tuple[int, tuple[int, ...]], int] = {}
        self.content: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.serial: dict[int, int] = {}
        self.next_serial = 1

    @property
    def available(self) -> int:
        """Blocks that can be taken now."""
        return len(self.free) + len(self.kept)

    def needed(self, table: Sequence[int], tokens: int) -> int:
        """How many blocks a table lacks for so many tokens."""
        return max(0, -(-tokens // self.size) - len(table))

    def grow(self, table: list[int], tokens: int) -> None:
        """Add blocks to a table until it holds so many tokens. Raises OutOfBlocks, and then takes none."""
        count = self.needed(table, tokens)
        if count > self.available:
            raise OutOfBlocks(
                f"{count} blocks are needed, and {self.available} of {self.blocks - 1} can be had"
            )
        table.extend(self._take() for _ in range(count))

    def _take(self) -> int:
        if not self.free:
            block, _ = self.kept.popitem(last=False)
            self._forget(block)
            self.free.append(block)
        block = self.free.popleft()
        self.holders[block] = 1
        return block

    def _forget(self, block: int) -> None:
        del self.known[self.content.pop(block)]
        del self.serial[block]

    def shrink(self, table: list[int], tokens: int) -> None:
        """Give back the blocks at a table's end that so many tokens do not need."""
        self._release(table[-(-tokens // self.size) :])
        del table[-(-tokens // self.size) :]

    def release(self, table: list[int]) -> None:
        """Give back all blocks of a table."""
        self.shrink(table, 0)

    def _release(self, blocks: Iterable[int]) -> None:
        # The end first: a beginning without its end is of use, an end without its beginning is not.
        for block in reversed(list(blocks)):
            self.holders[block] -= 1
            if self.holders[block]:
                continue
            del self.holders[block]
            if block in self.content:
                self.kept[block] = None
            else:
                self.free.append(block)

    def fork(self, table: Sequence[int]) -> list[int]:
        """A second table on the same blocks: nothing is copied until one of the two writes."""
        for block in table:
            self.holders[block] += 1
        return list(table)

    def shared(self, table: Sequence[int], token: int) -> bool:
        """Whether a token's block is there, and held by others too: then it must be copied before it is written."""
        place = token // self.size
        return place < len(table) and self.holders[table[place]] > 1

    def own(self, table: list[int], token: int) -> tuple[int, int]:
        """Give the table a block of its own in the place of a shared one (copy-on-write).

        Returns: (source, target), for the caller to copy. Raises OutOfBlocks where none is left.
        """
        if not self.available:
            raise OutOfBlocks("a block must be copied before it is written, and none is left")
        place = token // self.size
        source, table[place] = table[place], self._take()
        self.holders[source] -= 1
        return source, table[place]

    def publish(self, table: Sequence[int], tokens: Sequence[int]) -> None:
        """Make known what the full blocks of a table hold: the keys and values of these tokens."""
        if not self.keep:
            return
        before = 0
        for place in range(len(tokens) // self.size):
            block = table[place]
            content = before, tuple(tokens[place * self.size : (place + 1) * self.size])
            if content not in self.known and block not in self.content:
                self.known[content], self.content[block] = block, content
                self.serial[block], self.next_serial = self.next_serial, self.next_serial + 1
            if content not in self.known:
                return
            # Where another block holds the same tokens, what follows is known behind that one.
            before = self.serial[self.known[content]]

    def match(self, tokens: Sequence[int]) -> list[int]:
        """A table of known blocks with the longest beginning of these tokens, taken for the caller."""
        table, before = [], 0
        for start in range(0, len(tokens) - self.size + 1, self.size):
            block = self.known.get((before, tuple(tokens[start : start + self.size])))
            if block is None:
                break
            if block in self.kept:
                del self.kept[block]
                self.holders[block] = 0
            self.holders[block] += 1
            table.append(block)
            before = self.serial[block]
        return table

    def check(self, tables: Iterable[Sequence[int]] = ()) -> None:
        """Raise AssertionError unless each block is in exactly one state, and counted once for each table with it."""
        states = [*self.free, *self.holders, *self.kept]
        assert sorted(states) == list(range(1, self.blocks)), "a block is lost, or in two states"
        counts: dict[int, int] = {}
        for table in tables:
            for block in table:
                counts[block] = counts.get(block, 0) + 1
        assert counts == self.holders, f"blocks are held by {self.holders}, and {counts} stand in tables"
        assert {self.known[content]: content for content in self.known} == self.content
        assert set(self.kept) <= set(self.content) == set(self.serial)
