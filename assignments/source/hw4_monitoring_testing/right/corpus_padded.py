# replaces: corpus.py
# method: pad_sequence, Python's random, and a shuffled list
# differs: its orders and splits are others, and it gives tuples where it may
import random

import torch
from torch.nn.utils.rnn import pad_sequence

PAD, END, FIRST, WORDS, IGNORED = 0, 1, 2, 258, -100


def encode(text):
    return torch.tensor([FIRST + byte for byte in bytearray(text, "utf-8")] + [END], dtype=torch.long)


def decode(tokens):
    kept = bytearray()
    for token in tokens:
        if token == END:
            return kept.decode("utf-8", "replace")
        if token >= FIRST:
            kept.append(int(token) - FIRST)
    return kept.decode("utf-8", "replace")


def split(documents, share, seed):
    if not 0.0 <= share <= 1.0:
        raise ValueError(share)
    texts = sorted(set(documents))
    random.Random(seed).shuffle(texts)
    train = set(texts[round(share * len(texts)) :])
    return [one for one in documents if one in train], [one for one in documents if one not in train]


def order(count, epoch, seed):
    numbers = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(numbers)
    return numbers


def shard(indices, rank, world):
    if rank < 0 or rank >= world:
        raise ValueError(rank, world)
    return [index for place, index in enumerate(indices) if place % world == world - 1 - rank]


def collate(sequences, most):
    for sequence in sequences:
        if sequence.numel() < 2:
            raise ValueError(sequence)
    cut = [sequence[: most + 1] for sequence in sequences]
    tokens = pad_sequence([one[:-1] for one in cut], batch_first=True, padding_value=PAD)
    targets = pad_sequence([one[1:] for one in cut], batch_first=True, padding_value=IGNORED)
    return tokens, targets
