"""Public checks of part 2. The hidden ones call the same procedures with other inputs."""

import math
from bisect import bisect_left, insort
from functools import cache

import torch
import torch.nn.functional as F

from grader.checks import check, expect, expect_at_most, expect_close, expect_equal

# Seconds for one run, only to end what hangs; longer where the machine is slow. An honest one takes under one second.
WALL = 20


def reply(run, *keys):
    """Return what the driver sent back, after a look at its form."""
    found = run.result
    expect(type(found) is dict and all(key in found for key in keys), "the driver's reply is damaged")
    return found


def listed(value, count, what):
    """Return a list of the student's, after a look at its form; `count` None: of any length."""
    expect(type(value) is list, f"{what} is no list", yours=type(value).__name__)
    if count is not None:
        expect(len(value) == count, f"{what} has {len(value)} entries", spec=str(count))
    return value


def random_sequences(sub, lengths, smallest=1):
    """Return sequences of random tokens with these lengths."""
    return [sub.rng.integers(smallest, 1000, (length,)).tolist() for length in lengths]


# --- padding ----------------------------------------------------------------------------------------------------


def expect_brain(sub, sequences, max_length, pad, *, odd=""):
    """Compare every item of a BrainDataset."""
    kept = [sequence for sequence in sequences if len(sequence) <= max_length]
    run = sub.call("driver:brain", sequences, max_length, pad, list(range(len(kept))), wall=WALL)
    found = reply(run, "count", "tokens", "lengths")
    expect_equal(found["count"], len(kept), of=f"number of items{odd}")
    expect_equal(found["lengths"], [len(sequence) for sequence in kept], of=f"lengths of the items{odd}")
    listed(found["tokens"], len(kept), "the list of items")
    for index, sequence in enumerate(kept):
        right = torch.tensor(sequence + [pad] * (max_length - len(sequence)))
        expect_equal(found["tokens"][index], right, of=f"tokens of item {index}{odd}")


def mixed_lengths(sub, count, max_length):
    """Return lengths on both sides of `max_length`, which stands among them."""
    lengths = [sub.rng.integers(1, 2 * max_length) for _ in range(count)]
    return [*lengths, max_length, max_length + 1, 1]


@check(
    item="padding",
    points=0.25,
    hint="A sequence of exactly max_length tokens stays; one token more, and it goes, whole.",
)
def brain_pads_to_the_maximum(sub):
    """Items of one length, tokens first; sequences that are too long are dropped, and the order is kept."""
    max_length = sub.rng.integers(20, 40)
    sequences = random_sequences(sub, mixed_lengths(sub, 30, max_length))
    expect_brain(sub, sequences, max_length, 0)
    expect_brain(sub, [[1] * (max_length + 7)], max_length, 0, odd=", where all are too long")


def expect_big_brain(sub, sequences, max_length, pad, batches, *, odd=""):
    """Compare items and batches of a BigBrainDataset."""
    kept = [sequence for sequence in sequences if len(sequence) <= max_length]
    run = sub.call("driver:big_brain", sequences, max_length, pad, batches, wall=WALL)
    found = reply(run, "count", "items", "lengths", "batches")
    expect_equal(found["count"], len(kept), of=f"number of items{odd}")
    expect_equal(found["lengths"], [len(sequence) for sequence in kept], of=f"lengths(){odd}")
    for index, item in enumerate(listed(found["items"], len(kept), "the list of items")):
        expect_equal(item, torch.tensor(kept[index]), of=f"item {index}{odd}")
    for batch, made in zip(
        batches, listed(found["batches"], len(batches), "the list of batches"), strict=True
    ):
        expect(type(made) is dict and {"tokens", "lengths"} <= made.keys(), "the driver's reply is damaged")
        longest = max(len(kept[index]) for index in batch)
        right = torch.tensor([kept[index] + [pad] * (longest - len(kept[index])) for index in batch])
        expect_equal(made["lengths"], torch.tensor([len(kept[index]) for index in batch]), of=f"lengths{odd}")
        tokens = made["tokens"]
        if odd and type(tokens) is torch.Tensor and tokens.dim() == 2:
            tokens = tokens[:, :longest].clone()  # that batches are too wide is another check's matter
        expect_equal(tokens, right, of=f"tokens of a batch of {len(batch)}{odd}")


@check(
    item="padding",
    points=0.25,
    hint="Too many items: what is longer than max_length is dropped here too, not cut. Too many columns: the longest "
    "sequence of the batch, not of the dataset, says how many.",
)
def big_brain_pads_to_the_batch(sub):
    """Items as they are, and batches that are as wide as their longest item."""
    max_length = sub.rng.integers(20, 40)
    # No sequence of max_length tokens: what becomes of those is another check's matter.
    lengths = [sub.rng.integers(1, max_length) for _ in range(24)] + [max_length + 5]
    sequences = random_sequences(sub, lengths)
    order = sub.rng.permutation(24).tolist()
    expect_big_brain(sub, sequences, max_length, 0, [order[start : start + 6] for start in range(0, 24, 6)])


# --- bucketing --------------------------------------------------------------------------------------------------


def lists_of(sub, lengths, wanted, **options):
    """Return the lists of indices that one sampler gives, for each of the `wanted` epochs, and the counts."""
    found = sub.call("driver:epochs", lengths, options, wanted, wall=WALL).result
    for one in listed(found, len(wanted), "the driver's reply"):
        expect(type(one) is dict and {"count", "lists"} <= one.keys(), "the driver's reply is damaged")
        for batch in listed(one["lists"], None, "the epoch"):
            inside = type(batch) is list and all(type(i) is int and 0 <= i < len(lengths) for i in batch)
            expect(
                inside and len(batch) > 0,
                "a list of the sampler is no list of indices, or empty",
                yours=str(batch)[:80],
            )
    return [one["lists"] for one in found], [one["count"] for one in found]


def most_lists(lengths, batch_size, k):
    """Return how many lists a sampler may make of these lengths."""
    return len(lengths) // batch_size + math.ceil((max(lengths) - min(lengths) + 1) / (k + 1))


def gaps(lengths, lists):
    """Return by how much the longest of each list exceeds the shortest."""
    spans = [[lengths[index] for index in batch] for batch in lists]
    return [max(span) - min(span) for span in spans]


def a_sampler(sub, k=None):
    """Return lengths as sentences have them, a batch size and k."""
    lengths = (sub.rng.normal((sub.rng.integers(900, 1100),)).exp() * 40 + 1).long().clamp(max=640).tolist()
    return lengths, sub.rng.integers(7, 17), sub.rng.integers(3, 12) if k is None else k


@check(
    item="bucketing",
    points=0.25,
    hint="What is left of a bucket makes a smaller list; it is not dropped, and not filled up with copies.",
)
def every_index_comes_once(sub):
    """An epoch names every index once, in lists of at most batch_size, and not in more lists than allowed."""
    several, batch_size, k = a_sampler(sub)
    for lengths, each in ((several, k), (several, 640), ([7], k), ([3, 300, 4], 640)):
        (lists,), (count,) = lists_of(sub, lengths, [0], batch_size=batch_size, k=each, seed=1)
        times = torch.zeros(len(lengths), dtype=torch.int64)
        for batch in lists:
            times.index_add_(0, torch.tensor(batch), torch.ones(len(batch), dtype=torch.int64))
        expect_equal(times, torch.ones_like(times), of=f"k = {each}: how often each index comes")
        expect_at_most(max(map(len, lists)), batch_size, of=f"k = {each}: indices in the longest list")
        expect_at_most(len(lists), most_lists(lengths, batch_size, each), of=f"k = {each}: lists")
        expect_equal(count, len(lists), of=f"k = {each}: what len() says")


@check(
    item="bucketing",
    points=0.25,
    hint="A bucket of k + 1 neighbouring lengths has a gap of k.",
    accepts=dict.fromkeys(("zeros", "constant"), "one index has no gap; another check looks for the others"),
)
def gaps_are_at_most_k(sub):
    """In every list, the longest sequence exceeds the shortest by at most k; k = 0 and 1 among others."""
    lengths, batch_size, k = a_sampler(sub)
    for each in (0, 1, k):
        (lists,), _ = lists_of(sub, lengths, [0], batch_size=batch_size, k=each)
        expect(len(lists) > 0, f"k = {each}: the epoch is empty")
        expect_at_most(max(gaps(lengths, lists)), each, of=f"k = {each}: the largest gap")


# --- packing ----------------------------------------------------------------------------------------------------


def expect_rows(rows, lengths, capacity, *, of):
    """Fail unless each sequence that fits stands in one row, and no row holds more than `capacity`."""
    listed(rows, None, of)
    for row in rows:
        inside = type(row) is list and all(type(index) is int and 0 <= index < len(lengths) for index in row)
        expect(inside, f"{of}: a row is no list of indices", yours=str(row)[:80])
    times = torch.zeros(len(lengths), dtype=torch.int64)
    for row in rows:
        for index in row:
            times[index] += 1
    right = torch.tensor([int(length <= capacity) for length in lengths], dtype=torch.int64)
    expect_equal(times, right, of=f"{of}: how often each sequence stands in a row")
    fullest = max((sum(lengths[index] for index in row) for row in rows), default=0)
    expect_at_most(fullest, capacity, of=f"{of}: tokens in the fullest row")
    expect(all(rows), f"{of}: a row is empty")


@check(
    item="packing",
    points=0.125,
    hint="Longer than capacity: drop it. Exactly as long: a row of its own.",
)
def rows_hold_every_sequence_once(sub):
    """Each sequence that fits stands in one row, whole, and no row holds more tokens than its capacity."""
    capacity = sub.rng.integers(30, 60)
    cases = [
        (mixed_lengths(sub, sub.rng.integers(50, 80), capacity), capacity),
        ([capacity] * 5, capacity),
        ([capacity + 1], capacity),
        ([], capacity),
    ]
    found = listed(sub.call("driver:rows_of", cases, wall=WALL).result, len(cases), "the driver's reply")
    for rows, (lengths, each) in zip(found, cases, strict=True):
        expect_rows(rows, lengths, each, of=f"{len(lengths)} sequences")


def a_packing(sub, capacity, per_row):
    """Return sequences, and rows that hold `per_row[i]` of them each, with room left in some."""
    lengths, rows = [], []
    for count in per_row:
        rows.append(list(range(len(lengths), len(lengths) + count)))
        lengths += [sub.rng.integers(1, capacity // count + 1) for _ in range(count)]
    # The order of rows is not that of the sequences.
    places = sub.rng.permutation(len(lengths)).tolist()
    sequences = random_sequences(sub, [length for _, length in sorted(zip(places, lengths, strict=True))])
    return sequences, [[places[index] for index in row] for row in rows]


def right_pack(sequences, rows, capacity, pad):
    """Return what `pack` should."""
    names = ("tokens", "segments", "positions", "targets")
    columns = {name: [] for name in names}
    for row in rows:
        flat = {
            "tokens": [token for index in row for token in sequences[index]],
            "segments": [number for number, index in enumerate(row, 1) for _ in sequences[index]],
            "positions": [place for index in row for place in range(len(sequences[index]))],
            "targets": [token for index in row for token in [*sequences[index][1:], -100]],
        }
        for name, empty in zip(names, (pad, 0, 0, -100), strict=True):
            columns[name].append(flat[name] + [empty] * (capacity - len(flat[name])))
    return {name: torch.tensor(values).reshape(len(rows), capacity) for name, values in columns.items()}


def expect_pack(sub, sequences, rows, capacity, pad, names, *, odd=""):
    """Compare the tensors of `pack`."""
    found = reply(sub.call("driver:packed", sequences, rows, capacity, pad, wall=WALL))
    right = right_pack(sequences, rows, capacity, pad)
    missing = ", ".join(sorted(right.keys() - found.keys()))
    expect(not missing, "pack leaves out some of its tensors", yours=missing, spec=", ".join(right))
    for name in names:
        expect_equal(found[name], right[name], of=f"{name}{odd}")


@check(
    item="packing",
    points=0.25,
    hint="Positions restart, and the last token of a sequence has no target: what follows is another text.",
)
def packed_rows_are_as_specified(sub):
    """Tokens, segments, positions and targets of rows with one to five sequences."""
    capacity = sub.rng.integers(30, 40)
    sequences, rows = a_packing(sub, capacity, [2, 1, 5, 3, 4])
    expect_pack(sub, sequences, rows, capacity, 0, ("tokens", "segments", "positions", "targets"))


@cache
def weights():
    """Return the weights of a small transformer, float64: embeddings of tokens and positions, two layers."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1000, 16), (64, 16), *[(16, 48), (16, 16), (16, 16)] * 2]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) / 3 for shape in shapes]


def transformer(tokens, positions, mask):
    """Return its output [rows, length, 16] for tokens and positions [rows, length], mask [rows, length, length]."""

    of_token, of_position, *layers = weights()
    hidden = of_token[tokens] + of_position[positions]
    for number in range(2):
        into, out, wide = layers[3 * number : 3 * number + 3]
        query, key, value = F.layer_norm(hidden, (16,)).matmul(into).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / 4
        attention = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
        hidden = hidden + (attention @ value) @ out
        hidden = hidden + F.layer_norm(hidden, (16,)).matmul(wide).tanh()
    return hidden


def expect_apart(sub, cases, *, odd=""):
    """Run a transformer on packed rows with the student's mask, and on each sequence alone."""
    made = [right_pack(sequences, rows, capacity, 0) for sequences, rows, capacity in cases]
    found = sub.call("driver:masks_of", [one["segments"] for one in made], wall=WALL).result
    listed(found, len(cases), "the driver's reply")
    for mask, one, (sequences, rows, capacity) in zip(found, made, cases, strict=True):
        shape = (len(rows), capacity, capacity)
        expect(
            type(mask) is torch.Tensor and mask.shape == shape and mask.dtype is torch.bool,
            f"the mask{odd} is no bool tensor of shape {shape}",
            yours=f"{getattr(mask, 'dtype', type(mask).__name__)}, {tuple(getattr(mask, 'shape', ()))}",
        )
        expect(
            bool(mask.any(-1).all()), f"the mask{odd} has a query without any key: attention gives NaN there"
        )
        output = transformer(one["tokens"], one["positions"], mask)
        for row, indices in enumerate(rows):
            begin = 0
            for number, index in enumerate(indices, 1):
                tokens = torch.tensor(sequences[index])[None]
                count = tokens.shape[1]
                causal = torch.ones(1, count, count, dtype=torch.bool).tril()
                alone = transformer(tokens, torch.arange(count)[None], causal)[0]
                expect_close(
                    output[row, begin : begin + count],
                    alone,
                    atol=1e-9,
                    why="float64; a neighbour that shows through changes it by 0.01 and more",
                    of=f"output of sequence {number} of {len(indices)} in a row{odd}, beside that of it alone",
                )
                begin += count


@check(
    item="packing",
    points=0.25,
    hint="Same segment, not padding, and not later: all three. Padding attends to itself.",
)
def packed_sequences_do_not_see_each_other(sub):
    """With your mask, a transformer gives for each packed sequence what it gives for the sequence alone."""
    capacity = sub.rng.integers(30, 40)
    expect_apart(sub, [(*a_packing(sub, capacity, [2, 3, 4]), capacity)])


# --- best_fit ---------------------------------------------------------------------------------------------------


def best_fills(lengths, capacity):
    """Return the number of tokens in each row that best-fit decreasing makes, sorted."""
    room = []
    for length in sorted((length for length in lengths if length <= capacity), reverse=True):
        place = bisect_left(room, length)
        free = room.pop(place) if place < len(room) else capacity
        insort(room, free - length)
    return sorted(capacity - free for free in room)


@check(
    item="best_fit",
    points=0.5,
    hint="The row with the least room that suffices; among the longest that are left, in falling order.",
)
def rows_are_those_of_best_fit(sub):
    """As many tokens in every row as best-fit decreasing puts there; capacities from 1 to 640."""
    cases = []
    for capacity in (1, sub.rng.integers(2, 9), 64, 640):
        for count in (0, 1, sub.rng.integers(150, 250)):
            cases.append(([sub.rng.integers(1, capacity + 2) for _ in range(count)], capacity))
    found = listed(sub.call("driver:best_rows_of", cases, wall=WALL).result, len(cases), "the driver's reply")
    for rows, (lengths, capacity) in zip(found, cases, strict=True):
        of = f"{len(lengths)} sequences, capacity {capacity}"
        expect_rows(rows, lengths, capacity, of=of)
        fills = sorted(sum(lengths[index] for index in row) for row in rows)
        expect_equal(fills, best_fills(lengths, capacity), of=f"{of}: tokens in each row, sorted")
