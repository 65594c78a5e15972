"""Sequences of unequal length into packs of one capacity: three greedy rules on the histogram of lengths.

Sequences of one length are alike, so a rule need not look at each: it moves whole groups. `packs` packs with the same
lengths in them are one `Group`, and a few thousand groups describe sixteen million sequences. Krell et al. 2021
(arXiv 2107.02027) do the same for shortest-pack-first; first fit and best fit in this form are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FIRST_FIT, BEST_FIT, SHORTEST_FIRST = RULES = ("first fit", "best fit", "shortest pack first")


@dataclass
class Group:
    """So many packs with the same lengths in them, and the space that is left in each."""

    packs: int
    lengths: tuple[int, ...]
    space: int

    def with_more(self, packs: int, length: int, times: int) -> "Group":
        """The group of the first `packs` of them with `times` sequences more in each."""
        return Group(packs, self.lengths + (length,) * times, self.space - length * times)


def histogram(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """How many sequences have the length 0, 1, ..., capacity: (capacity + 1,) int64.

    Raises ValueError for a sequence that is empty or longer than a pack.
    """
    counts = np.bincount(lengths, minlength=capacity + 1)
    if len(counts) > capacity + 1 or counts[0]:
        raise ValueError(f"lengths must be from 1 to the capacity of {capacity}")
    return counts


def pack(counts: np.ndarray, capacity: int, rule: str = BEST_FIT) -> list[Group]:
    """Packs for a histogram of lengths, the longest sequences first.

    A sequence goes into the pack that was opened first (first fit), that leaves the least space (best fit) or that
    has the most (shortest pack first), of those in which it fits; into a new one if there is none. The packs are
    those that the rule would make one sequence after the other.

    Raises ValueError for another rule.
    """
    if rule not in RULES:
        raise ValueError(f"the rule is one of {', '.join(RULES)}, not {rule!r}")
    groups: list[Group] = []  # in the order in which they were opened
    for length in range(len(counts) - 1, 0, -1):
        left = int(counts[length])
        while left and (place := _choose(groups, length, rule)) is not None:
            group = groups[place]
            # The fullest pack stays the fullest when it gets more, and the first one the first: fill it. But the
            # emptiest is then no longer the emptiest: one for each.
            times = 1 if rule == SHORTEST_FIRST else group.space // length
            filled, left = _spread(group, length, times, left)
            groups[place : place + 1] = filled
        if left:
            filled, _ = _spread(Group(left, (), capacity), length, capacity // length, left)
            groups += [group for group in filled if group.lengths]
    return groups


def _choose(groups: list[Group], length: int, rule: str) -> int | None:
    """The place of the group that a sequence of this length goes to; None where it fits nowhere."""
    fitting = (place for place, group in enumerate(groups) if group.space >= length)
    if rule == FIRST_FIT:
        return next(fitting, None)
    if rule == BEST_FIT:
        return min(fitting, key=lambda place: groups[place].space, default=None)
    return max(fitting, key=lambda place: groups[place].space, default=None)


def _spread(group: Group, length: int, times: int, left: int) -> tuple[list[Group], int]:
    """Put up to `left` sequences into the group's packs, `times` in each; the group's parts, and what is left."""
    full = min(group.packs, left // times)
    rest = min(left - full * times, times) if full < group.packs else 0
    parts = [(full, times), (1 if rest else 0, rest), (group.packs - full - (1 if rest else 0), 0)]
    made = [group.with_more(packs, length, more) for packs, more in parts if packs]
    return made, left - full * times - rest


def packs(groups: Sequence[Group]) -> int:
    """Number of packs."""
    return sum(group.packs for group in groups)


def efficiency(groups: Sequence[Group], capacity: int) -> float:
    """Share of the packs' places that hold a token, 0 to 1. Raises ValueError without packs."""
    if not groups:
        raise ValueError("no packs: the histogram is empty")
    return 1 - sum(group.packs * group.space for group in groups) / (packs(groups) * capacity)


def members(lengths: np.ndarray, groups: Sequence[Group]) -> list[np.ndarray]:
    """Which sequence goes where: for each group an array (packs, sequences in a pack) of places in `lengths`."""
    order = np.argsort(lengths, kind="stable")
    begins = np.concatenate([[0], np.cumsum(np.bincount(lengths))])
    found = []
    for group in groups:
        rows = np.empty((group.packs, len(group.lengths)), dtype=np.int64)
        for column, length in enumerate(group.lengths):
            start = begins[length]
            rows[:, column] = order[start : start + group.packs]
            begins[length] += group.packs
        found.append(rows)
    return found


def synthetic(count: int, capacity: int, seed: int = 0) -> np.ndarray:
    """Lengths as texts have them, log-normal and cut at the capacity: (count,) uint16."""
    drawn = np.random.default_rng(seed).lognormal(np.log(capacity / 3), 0.9, count)
    return np.clip(drawn, 1, capacity).astype(np.uint16)
