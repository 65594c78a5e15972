"""What submissions are timed against: plain solutions, none of them tuned. Never released."""

from bisect import bisect_right
from itertools import accumulate, islice

import torch

KEPT = {}


def random_lengths(count, seed):
    """Return the lengths that the driver makes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 641, (count,), generator=generator).tolist()


class Plain:
    """Buckets by one pass over the lengths; draws without replacement, each number by `torch.randint`."""

    def __init__(self, lengths, batch_size, k):
        self.batch_size, self.epoch, buckets = batch_size, 0, {}
        for index, length in enumerate(lengths):
            number = (length - 1) // (k + 1)
            if number not in buckets:
                buckets[number] = []
            buckets[number].append(index)
        self.buckets = list(buckets.values())
        self.ends = list(accumulate(-(-len(bucket) // batch_size) for bucket in self.buckets))

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.epoch)

        def draw(pool):
            place = int(torch.randint(pool["left"], (1,), generator=generator))
            pool["left"] -= 1
            moved, last = pool["moved"], pool["left"]
            value = moved.get(place, place)
            moved[place] = moved.get(last, last)
            return value

        batches = {"left": self.ends[-1], "moved": {}}
        pools = [{"left": len(bucket), "moved": {}} for bucket in self.buckets]
        while batches["left"]:
            number = bisect_right(self.ends, draw(batches))
            size = min(self.batch_size, pools[number]["left"])
            yield [self.buckets[number][draw(pools[number])] for _ in range(size)]


def first_lists(count, seed, k, epoch, lists):
    """Return the first lists of an epoch; the sampler is built once."""
    if (count, seed, k) not in KEPT:
        KEPT[count, seed, k] = Plain(random_lengths(count, seed), 32, k)
    sampler = KEPT[count, seed, k]
    sampler.epoch = epoch
    return list(islice(sampler, lists))


def build(count, seed, k):
    """Build a sampler; return the number of its lists and the first of them."""
    sampler = Plain(random_lengths(count, seed), 32, k)
    return {"count": sampler.ends[-1], "first": next(iter(sampler))}


class Tree:
    """The rows by the room that is left in them, under a tree of counts, by recursion."""

    def __init__(self, capacity):
        self.size = 1
        while self.size <= capacity:
            self.size *= 2
        self.counts = [0] * (2 * self.size)

    def change(self, room, by):
        """Note one row more, or less, with this room."""
        node = self.size + room
        while node:
            self.counts[node] += by
            node //= 2

    def find(self, least, node=1, low=0, high=None):
        """Return the smallest room of a row from `least` on, None where there is none."""
        high = self.size if high is None else high
        if self.counts[node] == 0 or high <= least:
            return None
        if high - low == 1:
            return low
        middle = (low + high) // 2
        found = self.find(least, 2 * node, low, middle)
        return self.find(least, 2 * node + 1, middle, high) if found is None else found


def best_fit_many(count, seed, capacity):
    """Return the rows of best-fit decreasing, joined, and the number of indices in each."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, capacity + 1, (count,), generator=generator).tolist()
    tree, rows, with_room = Tree(capacity), [], {}
    for index in sorted(range(count), key=lambda index: -lengths[index]):
        room = tree.find(lengths[index])
        if room is None:
            row, room = len(rows), capacity
            rows.append([])
        else:
            row = with_room[room].pop()
            tree.change(room, -1)
        rows[row].append(index)
        left = room - lengths[index]
        with_room.setdefault(left, []).append(row)
        tree.change(left, 1)
    return {
        "indices": torch.tensor([index for row in rows for index in row]),
        "sizes": torch.tensor([len(row) for row in rows]),
    }


def best_fit_floor(count, seed, capacity):
    """Return as much as `best_fit_many`, of no use: the lengths are made and the indices handed over, not packed."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, capacity + 1, (count,), generator=generator).tolist()
    return {
        "indices": torch.tensor(list(range(len(lengths)))),
        "sizes": torch.tensor([1] * (sum(lengths) // capacity)),
    }
