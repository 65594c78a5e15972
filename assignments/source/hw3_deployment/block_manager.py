"""Which blocks of a paged key-value cache belong to which sequence: the bookkeeping, without the tensors."""

from collections.abc import Sequence


class OutOfBlocks(Exception):
    """There are not enough free blocks. Whoever asked finds everything as it was before."""


class BlockManager:
    """Blocks 0 .. `blocks` - 1 with room for `size` tokens each, shared by sequences that have names.

    A sequence of n tokens has ceil(n / size) blocks: its token t lies in block `table(name)[t // size]`, at place
    t % size. A block that no sequence has is free.
    """

    def __init__(self, blocks: int, size: int):
        ### BEGIN SOLUTION
        self.size = size
        self._free = list(range(blocks))
        self._users = [0] * blocks
        self._tables: dict[str, list[int]] = {}
        self._lengths: dict[str, int] = {}
        self._of_prefix: dict[tuple[int, ...], int] = {}  # the block that ends this prompt's prefix
        self._prefix_of: dict[int, tuple[int, ...]] = {}
        ### END SOLUTION

    @property
    def free_blocks(self) -> int:
        """How many blocks no sequence has."""
        ### BEGIN SOLUTION
        return len(self._free)
        ### END SOLUTION

    def table(self, name: str) -> list[int]:
        """Return the blocks of this sequence, in the order of its tokens."""
        ### BEGIN SOLUTION
        return list(self._tables[name])
        ### END SOLUTION

    def add(self, name: str, tokens: Sequence[int]) -> None:
        """Give a new sequence blocks for its prompt `tokens`, at least one.

        A full block of a prompt, all of whose tokens up to the block's end are those at the beginning of another
        prompt that was added and is not yet freed, is shared with it. Raises OutOfBlocks, and changes nothing,
        where too few blocks are free for the rest.
        """
        ### BEGIN SOLUTION
        prefixes = [tuple(tokens[:end]) for end in range(self.size, len(tokens) + 1, self.size)]
        shared = []
        for prefix in prefixes:
            if prefix not in self._of_prefix:
                break
            shared.append(self._of_prefix[prefix])
        count = -(-len(tokens) // self.size)
        if count - len(shared) > len(self._free):
            raise OutOfBlocks(f"{name} needs {count - len(shared)} blocks, {len(self._free)} are free")
        for block in shared:
            self._users[block] += 1
        table = shared + [self._take() for _ in range(count - len(shared))]
        for prefix, block in zip(prefixes, table, strict=False):
            if prefix not in self._of_prefix:
                self._of_prefix[prefix], self._prefix_of[block] = block, prefix
        self._tables[name], self._lengths[name] = table, len(tokens)
        ### END SOLUTION

    def append(self, name: str) -> list[tuple[int, int]]:
        """Make room for one more token of this sequence; its block may be written to afterwards.

        Returns the copies (from block, to block) that must be made before: at most one, where the block was
        shared. Raises OutOfBlocks, and changes nothing, where a block is needed and none is free.
        """
        ### BEGIN SOLUTION
        table, length = self._tables[name], self._lengths[name]
        copies = []
        if length % self.size == 0:
            if not self._free:
                raise OutOfBlocks(f"{name} needs a block, none is free")
            table.append(self._take())
        elif self._users[table[-1]] > 1:
            if not self._free:
                raise OutOfBlocks(f"{name} needs a block of its own, none is free")
            shared, table[-1] = table[-1], self._take()
            self._users[shared] -= 1
            copies.append((shared, table[-1]))
        self._lengths[name] = length + 1
        return copies
        ### END SOLUTION

    def fork(self, parent: str, child: str) -> None:
        """Make `child` a new sequence with the tokens of `parent`; no block is taken for it."""
        ### BEGIN SOLUTION
        self._tables[child] = list(self._tables[parent])
        self._lengths[child] = self._lengths[parent]
        for block in self._tables[child]:
            self._users[block] += 1
        ### END SOLUTION

    def free(self, name: str) -> None:
        """End this sequence; blocks that no other sequence has are free again."""
        ### BEGIN SOLUTION
        del self._lengths[name]
        for block in self._tables.pop(name):
            self._users[block] -= 1
            if not self._users[block]:
                self._free.append(block)
                if block in self._prefix_of:
                    del self._of_prefix[self._prefix_of.pop(block)]
        ### END SOLUTION

    ### BEGIN SOLUTION
    def _take(self):
        """Return a free block with one user."""
        block = self._free.pop()
        self._users[block] = 1
        return block

    ### END SOLUTION
