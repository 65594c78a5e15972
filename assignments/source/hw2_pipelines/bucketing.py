"""Batches of sequences that are about equally long (ULTRA BIG), in the order of chance."""

from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

### BEGIN SOLUTION
from bisect import bisect_right  # isort: skip
from itertools import accumulate  # isort: skip
from random import Random  # isort: skip
### END SOLUTION


class UltraBigBrainBatchSampler(Sampler[list[int]]):
    """Yields lists of indices: in each, the longest sequence exceeds the shortest by at most `k` tokens.

    Over all ranks, every index of an epoch comes once. A list has `batch_size` indices; smaller ones are left where
    lengths do not go together: of n sequences, at most n // batch_size + ceil((longest - shortest + 1) / (k + 1))
    lists are made. Which indices share a list, and the order of lists, is decided by chance: by `seed` and the
    epoch, and by nothing else.

    With `world` ranks each gets the same number of lists; what does not divide by `world` is left out in this
    epoch. All ranks are made with the same arguments but `rank`.

    The constructor may take time proportional to n. A list takes a time that does not depend on n, the first of an
    epoch too.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, k: int, seed: int = 0, rank: int = 0, world: int = 1
    ):
        ### BEGIN SOLUTION
        self.batch_size, self.seed, self.rank, self.world, self.epoch = batch_size, seed, rank, world, 0
        shortest, buckets = min(lengths), {}
        for index, length in enumerate(lengths):
            buckets.setdefault((length - shortest) // (k + 1), []).append(index)
        self._buckets = list(buckets.values())
        # Batches are numbered bucket by bucket; where each bucket's numbers end.
        self._ends = list(accumulate(-(-len(bucket) // batch_size) for bucket in self._buckets))
        ### END SOLUTION

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is; it is 0 before. Whatever was iterated so far does not matter."""
        ### BEGIN SOLUTION
        self.epoch = epoch
        ### END SOLUTION

    def __len__(self) -> int:
        """Return the number of lists that this rank gets in an epoch."""
        ### BEGIN SOLUTION
        return self._ends[-1] // self.world
        ### END SOLUTION

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this rank's lists of the epoch."""
        ### BEGIN SOLUTION
        random = Random(f"{self.seed}, {self.epoch}")
        batches = _Draws(self._ends[-1], random)
        places = [_Draws(len(bucket), random) for bucket in self._buckets]
        # Every rank makes the draws of all, so that they agree without a message.
        for number in range(len(self) * self.world):
            which = bisect_right(self._ends, batches.draw())
            size = min(self.batch_size, places[which].left)
            drawn = [self._buckets[which][places[which].draw()] for _ in range(size)]
            if number % self.world == self.rank:
                yield drawn
        ### END SOLUTION


### BEGIN SOLUTION
class _Draws:
    """Draws from 0 .. count - 1 without replacement: the shuffle of Fisher and Yates, as far as it is asked for.

    Of the array that would be shuffled, only the places that differ from a new one are kept.
    """

    def __init__(self, count, random):
        self.left, self._random, self._moved = count, random, {}

    def draw(self):
        """Return the next number."""
        place, self.left = int(self._random.random() * self.left), self.left - 1
        value = self._moved.get(place, place)
        last = self._moved.pop(self.left, self.left)
        if place != self.left:
            self._moved[place] = last
        return value


### END SOLUTION
