# replaces: corpus.py
# method: NumPy, its generators, and hashes for the split
# differs: its orders and splits are others, and it keeps batches in one array
import hashlib

import numpy as np
import torch

PAD, END, FIRST = 0, 1, 2
WORDS = 258
IGNORED = -100


def encode(text):
    data = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) + FIRST
    return torch.from_numpy(np.append(data, END))


def decode(tokens):
    values = tokens.numpy()
    ends = np.flatnonzero(values == END)
    values = values[: ends[0]] if len(ends) else values
    return bytes((values[values != PAD] - FIRST).tolist()).decode(errors="replace")


def split(documents, share, seed):
    if share < 0 or share > 1:
        raise ValueError("no share")
    texts = sorted(set(documents), key=lambda text: hashlib.sha256(f"{seed}:{text}".encode()).digest())
    valid = set(texts[: round(share * len(texts))])
    sides = ([], [])
    for text in documents:
        sides[text in valid].append(text)
    return sides


def order(count, epoch, seed):
    return [int(index) for index in np.random.default_rng([seed, epoch]).permutation(count)]


def shard(indices, rank, world):
    if rank not in range(world):
        raise ValueError("no such rank")
    size, more = divmod(len(indices), world)
    begin = rank * size + min(rank, more)
    return indices[begin : begin + size + (rank < more)]


def collate(sequences, most):
    if min(map(len, sequences)) < 2:
        raise ValueError("too short")
    cut = [sequence[: most + 1] for sequence in sequences]
    length = max(map(len, cut)) - 1
    batch = np.full((2, len(cut), length), PAD, dtype=np.int64)
    batch[1] = IGNORED
    for row, sequence in enumerate(cut):
        for shift in (0, 1):
            batch[shift, row, : len(sequence) - 1] = sequence[shift : len(sequence) - 1 + shift]
    return torch.from_numpy(batch[0]), torch.from_numpy(batch[1])
