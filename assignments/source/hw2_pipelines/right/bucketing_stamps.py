# replaces: bucketing.py
# method: runs of the sorted order; swaps in place, each with the number of its iteration: older swaps do not count
import array

import numpy as np
from torch.utils.data import Sampler


class UltraBigBrainBatchSampler(Sampler):
    def __init__(self, lengths, batch_size, k, seed=0, rank=0, world=1):
        lengths = np.asarray(lengths)
        self.order = array.array("q", np.argsort(lengths, kind="stable").tobytes())
        counts = np.bincount(lengths)
        self.runs, begin, length = [], 0, 0
        while length < len(counts):
            if counts[length] == 0:
                length += 1
                continue
            count = int(counts[length : length + k + 1].sum())
            self.runs.append((begin, count))
            begin, length = begin + count, length + k + 1
        self.lists = [
            number for number, (_, count) in enumerate(self.runs) for _ in range(-(-count // batch_size))
        ]
        self.batch_size, self.seed, self.rank, self.world, self.epoch = batch_size, seed, rank, world, 0
        self.turn = 0
        total = len(lengths) + len(self.lists)
        self.swapped, self.stamps = (array.array("q", bytes(8 * total)) for _ in range(2))

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.lists) // self.world

    def __iter__(self):
        self.turn += 1
        turn, rng = self.turn, np.random.default_rng([self.seed, self.epoch])
        swapped, stamps = self.swapped, self.stamps
        numbers = iter(())

        def uniform():
            nonlocal numbers
            found = next(numbers, None)
            if found is None:
                numbers = iter(rng.random(256).tolist())
                found = next(numbers)
            return found

        def draw(begin, left):
            place, last = begin + int(uniform() * left), begin + left - 1
            value = swapped[place] if stamps[place] == turn else place
            swapped[place] = swapped[last] if stamps[last] == turn else last
            stamps[place] = turn
            return value

        offset, left = len(self.order), [count for _, count in self.runs]
        for number in range(len(self) * self.world):
            run = self.lists[draw(offset, len(self.lists) - number) - offset]
            found = []
            while left[run] and len(found) < self.batch_size:
                found.append(self.order[draw(self.runs[run][0], left[run])])
                left[run] -= 1
            if number % self.world == self.rank:
                yield found
