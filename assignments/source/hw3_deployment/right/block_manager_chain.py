# replaces: block_manager.py
# method: a full block is known by the block before it and its own tokens; the lowest free number is lent first
import heapq
from dataclasses import dataclass, field


class OutOfBlocks(Exception):
    pass


@dataclass
class Sequence:
    blocks: list = field(default_factory=list)
    count: int = 0


class BlockManager:
    def __init__(self, blocks, size):
        self.size, self.heap = size, list(range(blocks))
        self.references = {}
        self.children = {}  # (block before, tokens) -> block
        self.key_of = {}
        self.all = {}

    @property
    def free_blocks(self):
        return len(self.heap)

    def table(self, name):
        return list(self.all[name].blocks)

    def need(self, count):
        if count > len(self.heap):
            raise OutOfBlocks(count)

    def lend(self):
        block = heapq.heappop(self.heap)
        self.references[block] = 1
        return block

    def add(self, name, tokens):
        pieces = [tuple(tokens[i : i + self.size]) for i in range(0, len(tokens), self.size)]
        found, before = [], None
        for piece in pieces:
            block = self.children.get((before, piece)) if len(piece) == self.size else None
            if block is None:
                break
            found.append(block)
            before = block
        self.need(len(pieces) - len(found))
        for block in found:
            self.references[block] += 1
        for piece in pieces[len(found) :]:
            block = self.lend()
            if len(piece) == self.size:
                self.children[before, piece] = block
                self.key_of[block] = (before, piece)
            found.append(block)
            before = block
        self.all[name] = Sequence(found, len(tokens))

    def append(self, name):
        one = self.all[name]
        copies = []
        if one.count % self.size == 0:
            self.need(1)
            one.blocks.append(self.lend())
        elif self.references[one.blocks[-1]] > 1:
            self.need(1)
            old, new = one.blocks[-1], self.lend()
            self.references[old] -= 1
            one.blocks[-1] = new
            copies = [(old, new)]
        one.count += 1
        return copies

    def fork(self, parent, child):
        one = self.all[parent]
        self.all[child] = Sequence(list(one.blocks), one.count)
        for block in one.blocks:
            self.references[block] += 1

    def free(self, name):
        for block in self.all.pop(name).blocks:
            self.references[block] -= 1
            if self.references[block] == 0:
                heapq.heappush(self.heap, block)
                key = self.key_of.pop(block, None)
                if key is not None:
                    del self.children[key]
