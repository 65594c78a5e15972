# replaces: packing.py
# method: first fit by argmax over an array of rooms; rows filled in NumPy; the mask from where each segment begins
import numpy as np
import torch


def first_fit_decreasing(lengths, capacity):
    lengths = np.array(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] <= capacity]
    room = np.full(len(order), capacity)
    row_of = {}
    for index in order.tolist():
        row = int(np.argmax(room >= lengths[index]))
        room[row] -= lengths[index]
        row_of.setdefault(row, []).append(index)
    return [row_of[row] for row in sorted(row_of)]


def pack(sequences, rows, capacity, pad=0):
    shape = (len(rows), capacity)
    tokens, segments, positions = np.full(shape, pad), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, indices in enumerate(rows):
        place = 0
        for number, index in enumerate(indices):
            for offset, token in enumerate(sequences[index]):
                tokens[row, place], segments[row, place], positions[row, place] = token, number + 1, offset
                place += 1
    following, after = np.roll(tokens, -1, axis=1), np.roll(segments, -1, axis=1)
    after[:, -1] = 0
    targets = np.where((segments > 0) & (after == segments), following, -100)
    found = {"tokens": tokens, "segments": segments, "positions": positions, "targets": targets}
    return {name: torch.from_numpy(value.astype(np.int64)) for name, value in found.items()}


def block_diagonal_mask(segments):
    places = torch.arange(segments.shape[1]).expand(segments.shape)
    new = torch.ones_like(segments, dtype=torch.bool)
    new[:, 1:] = segments[:, 1:] != segments[:, :-1]
    begins = torch.where(new | (segments == 0), places, 0).cummax(dim=1).values
    return (places[:, None, :] <= places[:, :, None]) & (places[:, None, :] >= begins[:, :, None])
