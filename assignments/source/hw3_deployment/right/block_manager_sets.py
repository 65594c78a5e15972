# replaces: block_manager.py
# method: each block knows the names of its users; beginnings are found by looking at all living prompts
class OutOfBlocks(Exception):
    pass


class BlockManager:
    def __init__(self, blocks, size):
        self.users = [set() for _ in range(blocks)]
        self.size = size
        self.tables, self.counts, self.prompts = {}, {}, {}

    def spare(self):
        return [block for block, users in enumerate(self.users) if not users]

    @property
    def free_blocks(self):
        return len(self.spare())

    def table(self, name):
        return self.tables[name][:]

    def add(self, name, tokens):
        tokens = list(tokens)
        shared = []
        for other, prompt in self.prompts.items():
            same = 0
            while same < min(len(prompt), len(tokens)) and prompt[same] == tokens[same]:
                same += 1
            if same // self.size > len(shared):
                shared = self.original[other][: same // self.size]
        needed = (len(tokens) + self.size - 1) // self.size - len(shared)
        spare = self.spare()
        if needed > len(spare):
            raise OutOfBlocks
        self.tables[name] = shared + spare[:needed]
        for block in self.tables[name]:
            self.users[block].add(name)
        self.prompts[name], self.counts[name] = tokens, len(tokens)
        self.original = {**getattr(self, "original", {}), name: self.tables[name][:]}

    def append(self, name):
        table = self.tables[name]
        full = self.counts[name] == len(table) * self.size
        others = not full and len(self.users[table[-1]]) > 1
        copies = []
        if full or others:
            spare = self.spare()
            if not spare:
                raise OutOfBlocks
            if others:
                old = table.pop()
                self.users[old].remove(name)
                copies = [(old, spare[0])]
            table.append(spare[0])
            self.users[spare[0]].add(name)
        self.counts[name] += 1
        return copies

    def fork(self, parent, child):
        self.tables[child] = self.tables[parent][:]
        self.counts[child] = self.counts[parent]
        for block in self.tables[child]:
            self.users[block].add(child)

    def free(self, name):
        for block in self.tables.pop(name):
            self.users[block].discard(name)
        self.prompts.pop(name, None)
        self.counts.pop(name)
