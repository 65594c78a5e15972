# replaces: best_fit.py
# method: three levels of 64-bit words say which amounts of room there are; the lowest bit of what is left of a word
def _lowest(word):
    return (word & -word).bit_length() - 1


class _Room:
    def __init__(self, capacity):
        self.levels = []
        size = capacity + 1
        while True:
            size = (size + 63) // 64
            self.levels.append([0] * size)
            if size == 1:
                break

    def add(self, value):
        for level in self.levels:
            level[value >> 6] |= 1 << (value & 63)
            value >>= 6

    def remove(self, value):
        for level in self.levels:
            level[value >> 6] &= ~(1 << (value & 63))
            if level[value >> 6]:
                return
            value >>= 6

    def at_least(self, value):
        for height, level in enumerate(self.levels):
            if value >> 6 >= len(level):
                return None
            word = level[value >> 6] >> (value & 63) << (value & 63)
            if word:
                value = value >> 6 << 6 | _lowest(word)
                for lower in reversed(self.levels[:height]):
                    value = value << 6 | _lowest(lower[value])
                return value
            value = (value >> 6) + 1
        return None


def best_fit_decreasing(lengths, capacity):
    order = sorted(
        (index for index in range(len(lengths)) if lengths[index] <= capacity), key=lengths.__getitem__
    )
    room, holders, rows = _Room(capacity), {}, []
    while order:
        index = order.pop()
        found = room.at_least(lengths[index])
        if found is None:
            rows.append([])
            row, found = rows[-1], capacity
        else:
            row = holders[found].pop()
            if not holders[found]:
                room.remove(found)
        row.append(index)
        left = found - lengths[index]
        if left:
            holders.setdefault(left, []).append(row)
            room.add(left)
    return rows
