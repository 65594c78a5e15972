"""Packing millions of sequences: best fit in O(log capacity) each (Ding et al., Fewer Truncations, 2024)."""

from collections.abc import Sequence


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return which sequences share a row of `capacity` tokens: a list of indices for each row (best-fit decreasing).

    From the longest sequence to the shortest, each goes into the row with the least room left of those that have
    room for it, and into a new row where none has. Every sequence stands in one row, whole; those longer than
    `capacity` are dropped.

    A sequence takes O(log capacity) time, whatever the number of rows.
    """
    ### BEGIN SOLUTION
    size = 1 << capacity.bit_length()  # leaves: 0 .. capacity tokens of room, and some that stay empty
    rows, with_room = [], [[] for _ in range(capacity + 1)]  # the rows that have so many tokens of room
    some = bytearray(
        2 * size
    )  # a node: whether a leaf below it has a row; the children of node i are 2i and 2i + 1
    for index in _longest_first(lengths, capacity):
        length = lengths[index]
        room = _at_least(some, size + length) - size
        if room < 0:
            row, room = len(rows), capacity
            rows.append([])
        else:
            row = with_room[room].pop()
            if not with_room[room]:
                _set(some, size + room, 0)
        rows[row].append(index)
        room -= length
        if room:
            with_room[room].append(row)
            _set(some, size + room, 1)
    return rows
    ### END SOLUTION


### BEGIN SOLUTION
def _longest_first(lengths: Sequence[int], capacity: int) -> list[int]:
    """Return the indices of sequences that fit, sorted by length without comparing any two."""
    of_length = [[] for _ in range(capacity + 1)]
    for index, length in enumerate(lengths):
        if length <= capacity:
            of_length[length].append(index)
    return [index for indices in reversed(of_length) for index in indices]


def _at_least(some: bytearray, leaf: int) -> int:
    """Return the first leaf that is not empty, from `leaf` on; 0 where there is none."""
    node = leaf
    while not some[node]:
        # To the next subtree on the right: up while this is a right child, and then over.
        while node & 1:
            node >>= 1
        if not node:
            return 0
        node += 1
        if not node & (node - 1):  # the first node of a level: over the right edge
            return 0
    while node < len(some) // 2:
        node = 2 * node + (not some[2 * node])
    return node


def _set(some: bytearray, leaf: int, value: int) -> None:
    """Mark a leaf as empty or not, and its ancestors with it."""
    some[leaf] = value
    node = leaf >> 1
    while node:
        some[node] = some[2 * node] | some[2 * node + 1]
        node >>= 1


### END SOLUTION
