"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs.
"""

from itertools import islice

import torch

KEPT = {}
"""What was built for an earlier question of the same comparison."""


def plain(value):
    """Return a number that came as a tensor or NumPy's as a plain one, lists of them as lists."""
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


# --- padding ----------------------------------------------------------------------------------------------------


def brain(sequences, max_length, pad, picks):
    """Return the length of a BrainDataset, and those of its items `picks` that it says it has."""
    from padding import BrainDataset

    dataset = BrainDataset(sequences, max_length, pad)
    items = [dataset[index] for index in picks if index < len(dataset)]
    return {
        "count": len(dataset),
        "tokens": [tokens for tokens, _ in items],
        "lengths": [plain(length) for _, length in items],
    }


def many(sequences, tokens, max_length):
    """Return the length of a BrainDataset of `sequences` short sequences, and the sum of its last item."""
    from padding import BrainDataset

    dataset = BrainDataset([[1] * tokens for _ in range(sequences)], max_length)
    return {"count": len(dataset), "last": int(dataset[sequences - 1][0].sum())}


def big_brain(sequences, max_length, pad, batches):
    """Return length, items and lengths of a BigBrainDataset, and the batches of the items with these indices."""
    from padding import BigBrainDataset, collate_fn

    dataset = BigBrainDataset(sequences, max_length)
    made = [collate_fn([dataset[index] for index in batch], pad) for batch in batches]
    return {
        "count": len(dataset),
        "items": [dataset[index] for index in range(len(dataset))],
        "lengths": plain(dataset.lengths()),
        "batches": [{"tokens": tokens, "lengths": lengths} for tokens, lengths in made],
    }


# --- bucketing --------------------------------------------------------------------------------------------------


def epochs(lengths, options, wanted):
    """Return the lists of a new sampler for each of `wanted`, and what `len` said before.

    Each is an epoch, None where nobody says which, or a pair (epoch, count): then only so many lists are asked for.
    """
    from bucketing import UltraBigBrainBatchSampler

    sampler = UltraBigBrainBatchSampler(lengths, **options)
    found = []
    for one in wanted:
        epoch, count = one if isinstance(one, (list, tuple)) else (one, None)
        if epoch is not None:
            sampler.set_epoch(epoch)
        found.append({"count": len(sampler), "lists": [plain(batch) for batch in islice(sampler, count)]})
    return found


def random_lengths(count, seed):
    """Return so many lengths from 1 to 640, a list; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 641, (count,), generator=generator).tolist()


def first_lists(count, seed, k, epoch, lists):
    """Return the first lists of an epoch; the sampler is built once, for the first question."""
    from bucketing import UltraBigBrainBatchSampler

    if (count, seed, k) not in KEPT:
        KEPT[count, seed, k] = UltraBigBrainBatchSampler(random_lengths(count, seed), 32, k)
    sampler = KEPT[count, seed, k]
    sampler.set_epoch(epoch)
    return [plain(batch) for batch in islice(sampler, lists)]


def build(count, seed, k):
    """Build a sampler; return the number of its lists and the first of them."""
    from bucketing import UltraBigBrainBatchSampler

    sampler = UltraBigBrainBatchSampler(random_lengths(count, seed), 32, k)
    return {"count": len(sampler), "first": plain(next(iter(sampler)))}


# --- packing ----------------------------------------------------------------------------------------------------


def rows_of(cases):
    """Return the rows of `first_fit_decreasing` for each pair of lengths and capacity."""
    from packing import first_fit_decreasing

    return [plain(first_fit_decreasing(lengths, capacity)) for lengths, capacity in cases]


def packed(sequences, rows, capacity, pad):
    """Return the tensors of `pack`."""
    from packing import pack

    return dict(pack(sequences, rows, capacity, pad))


def masks_of(segments):
    """Return the mask of `block_diagonal_mask` for each of `segments`."""
    from packing import block_diagonal_mask

    return [block_diagonal_mask(one) for one in segments]


def best_rows_of(cases):
    """Return the rows of `best_fit_decreasing` for each pair of lengths and capacity."""
    from best_fit import best_fit_decreasing

    return [plain(best_fit_decreasing(lengths, capacity)) for lengths, capacity in cases]


def best_fit_many(count, seed, capacity):
    """Return the rows of `best_fit_decreasing` for random lengths, joined, and the number of indices in each."""
    from best_fit import best_fit_decreasing

    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, capacity + 1, (count,), generator=generator).tolist()
    rows = plain(best_fit_decreasing(lengths, capacity))
    return {
        "indices": torch.tensor([index for row in rows for index in row]),
        "sizes": torch.tensor([len(row) for row in rows]),
    }
