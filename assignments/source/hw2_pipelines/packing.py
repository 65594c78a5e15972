"""Several sequences in one row (ULTRA DUPER): which go together, the row itself, and who may attend to whom."""

from collections.abc import Sequence

import torch


def first_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return which sequences share a row of `capacity` tokens: a list of indices for each row (first-fit decreasing).

    Every sequence stands in one row, whole; those longer than `capacity` are dropped. The number of rows is at most
    11/9 of the fewest that are possible, plus 6/9 (Dosa 2007).
    """
    ### BEGIN SOLUTION
    rows, room = [], []
    fitting = [index for index, length in enumerate(lengths) if length <= capacity]
    for index in sorted(fitting, key=lambda index: -lengths[index]):
        row = next((row for row, free in enumerate(room) if free >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(capacity)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows
    ### END SOLUTION


def pack(
    sequences: Sequence[list[int]], rows: list[list[int]], capacity: int, pad: int = 0
) -> dict[str, torch.Tensor]:
    """Return the rows as four int64 tensors [rows, capacity], each row filled from the left, in the order given.

    tokens     those of the sequences, one behind the other, then `pad`
    segments   1 for the first sequence of a row, 2 for the second, ...; 0 for padding
    positions  0, 1, 2, ... within each sequence; 0 for padding
    targets    the next token of the same sequence; -100 where there is none, and for padding
    """
    ### BEGIN SOLUTION
    shape = len(rows), capacity
    tokens, targets = torch.full(shape, pad), torch.full(shape, -100)
    segments, positions = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    for row, indices in enumerate(rows):
        begin = 0
        for segment, index in enumerate(indices, 1):
            sequence = torch.tensor(sequences[index])
            end = begin + len(sequence)
            tokens[row, begin:end] = sequence
            targets[row, begin : end - 1] = sequence[1:]
            segments[row, begin:end] = segment
            positions[row, begin:end] = torch.arange(len(sequence))
            begin = end
    return {"tokens": tokens, "segments": segments, "positions": positions, "targets": targets}
    ### END SOLUTION


def block_diagonal_mask(segments: torch.Tensor) -> torch.Tensor:
    """Return who attends to whom, bool [rows, queries, keys], for `segments` [rows, capacity] of `pack`.

    A token attends to itself and to the earlier tokens of its own sequence. Padding attends to itself only: a row of
    the mask without a single True would make attention divide by zero.
    """
    ### BEGIN SOLUTION
    same = segments[:, :, None] == segments[:, None, :]
    causal = torch.ones(same.shape[1:], dtype=torch.bool, device=segments.device).tril()
    itself = torch.eye(same.shape[1], dtype=torch.bool, device=segments.device)
    return same & causal & (segments[:, :, None] > 0) | itself
    ### END SOLUTION
