# replaces: best_fit.py
# method: a tree whose nodes know the largest amount of room below them that a row has; by recursion, as in the paper
class _Tree:
    def __init__(self, size):
        self.leaves = 1
        while self.leaves < size:
            self.leaves *= 2
        self.most = [-1] * (2 * self.leaves)

    def put(self, value, there):
        node = value + self.leaves
        self.most[node] = value if there else -1
        while node > 1:
            node //= 2
            self.most[node] = max(self.most[2 * node], self.most[2 * node + 1])

    def smallest(self, least, node=1):
        if self.most[node] < least:
            return None
        if node >= self.leaves:
            return node - self.leaves
        if self.most[2 * node] >= least:
            return self.smallest(least, 2 * node)
        return self.smallest(least, 2 * node + 1)


def best_fit_decreasing(lengths, capacity):
    tree, rows, of_room = _Tree(capacity + 1), [], {}
    pairs = [(length, index) for index, length in enumerate(lengths) if length <= capacity]
    for length, index in sorted(pairs, reverse=True):
        room = tree.smallest(length)
        if room is None:
            rows.append([])
            room, row = capacity, len(rows) - 1
        else:
            row = of_room[room].pop()
            tree.put(room, bool(of_room[room]))
        rows[row].append(index)
        of_room.setdefault(room - length, []).append(row)
        tree.put(room - length, True)
    return rows
