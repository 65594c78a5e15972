# replaces: fair.py
# method: every item gets its tags when it is pushed, in whole numbers; all items in one sorted list
import bisect
import math


class FairQueue:
    UNIT = math.lcm(*range(1, 17))

    def __init__(self, weights=None):
        self.weights = dict(weights or {})
        self.all = []
        self.ends = {}
        self.now = 0
        self.count = 0

    def push(self, client, item):
        begin = max(self.now, self.ends.get(client, 0))
        self.ends[client] = begin + self.UNIT // self.weights.get(client, 1)
        self.count += 1
        bisect.insort(self.all, (begin, self.count, client, item), key=lambda entry: entry[:2])

    def pop(self):
        begin, _, client, item = self.all.pop(0)
        self.now = begin
        return client, item

    def __len__(self):
        return len(self.all)
