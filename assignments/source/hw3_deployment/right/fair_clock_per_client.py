# replaces: fair.py
# method: each client has a clock; the slowest that has something gets a turn, who comes in takes its time
class FairQueue:
    def __init__(self, weights=None):
        self.weights = weights or {}
        self.clocks = {}
        self.lines = {}
        self.last = 0.0

    def _present(self):
        return [client for client, line in self.lines.items() if line]

    def push(self, client, item):
        line = self.lines.setdefault(client, [])
        if not line:
            others = [self.clocks[one] for one in self._present()]
            now = min(others, default=self.last)
            self.clocks[client] = max(self.clocks.get(client, 0.0), now)
        line.append(item)

    def pop(self):
        present = self._present()
        if not present:
            raise IndexError("nothing there")
        client = min(present, key=lambda one: self.clocks[one])
        self.last = self.clocks[client]
        self.clocks[client] += 1 / self.weights.get(client, 1)
        return client, self.lines[client].pop(0)

    def __len__(self):
        return sum(len(line) for line in self.lines.values())
