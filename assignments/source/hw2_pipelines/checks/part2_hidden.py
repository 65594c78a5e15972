"""Hidden checks of part 2: the same properties on other inputs. Never released."""

import itertools
import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from grader.checks import check, expect, expect_at_least, expect_at_most, expect_equal, expect_slope_at_most


@cache
def public():
    """Return the names of the public file; at import its checks would be declared a second time, as hidden ones."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part2_public.py"))))


@cache
def driver():
    """Return the names of the driver."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part2_driver.py"))))


# --- padding ----------------------------------------------------------------------------------------------------


@check(
    item="padding",
    points=0.125,
    hint="Does padding have the number that was asked for? A batch may have one item.",
)
def odd_sequences_are_padded(sub):
    """Another number for padding, tokens equal to it, sequences of one token, batches of one."""

    pad, max_length = sub.rng.integers(1, 5), sub.rng.integers(10, 20)
    odd = f", padding with {pad}"
    # None of max_length tokens or more: what becomes of those is another check's matter.
    lengths = [1, max_length - 1, 1, max_length // 2]
    sequences = [[pad] * length for length in lengths]
    public().expect_brain(sub, sequences, max_length, pad, odd=odd)
    public().expect_big_brain(sub, sequences, max_length, pad, [[1], [0], [2, 0], [3, 1, 2]], odd=odd)


@check(
    item="padding",
    points=0.125,
    hint="Pad in __getitem__, one item at a time; a DataLoader's worker has a copy of whatever the dataset holds.",
)
def brain_holds_no_padding(sub):
    """Up to 26,000 sequences of 6 to 9 tokens, padded to 1,000 or more: memory grows by at most 2,000 bytes each."""
    tokens, width = sub.rng.integers(6, 10), 1000 + sub.rng.integers(0, 100)

    def run(count):
        found = sub.call("driver:many", count, tokens, width, wall=public().WALL)
        answer = public().reply(found, "count", "last")
        expect_equal(answer["count"], count, of="number of items")
        expect_equal(answer["last"], tokens, of="sum of the tokens of the last item")
        return found

    # 150 bytes for a list of 8, 400 for a tensor; 8,000 for a padded tensor.
    expect_slope_at_most(
        sub.slope(run, sizes=(2000, 14_000, 26_000)), 2000, fixed=60 << 20, of="bytes per sequence"
    )


# --- bucketing --------------------------------------------------------------------------------------------------


def pairs_of(lists):
    """Return the pairs of indices that share a list."""
    return {(one, two) for batch in lists for one in batch for two in batch if one < two}


@check(
    item="bucketing",
    points=0.25,
    hint="Seed a generator of your own with seed and epoch when an iteration begins, and begin from one arrangement. "
    "Draw which indices share a list, not the order of lists alone.",
)
def chance_follows_seed_and_epoch(sub):
    """The same seed and epoch give the same lists, whatever came before; others give others; chance mixes all."""
    # So large a k that hardly a bucket fits into one list.
    lengths, batch_size, k = public().a_sampler(sub, k=sub.rng.integers(30, 50))
    seed, epoch = sub.rng.integers(0, 1000), sub.rng.integers(1, 50)
    options = {"batch_size": batch_size, "k": k, "seed": seed}
    wanted = [0, epoch, (epoch + 1, 5), epoch, (epoch, 3)]
    (zero, first, part, again, begun), _ = public().lists_of(sub, lengths, wanted, **options)
    (fresh, unsaid), _ = public().lists_of(sub, lengths, [epoch, None], **options)
    (other,), _ = public().lists_of(sub, lengths, [epoch], **{**options, "seed": seed + 1})
    (start,), _ = public().lists_of(sub, lengths, [None], **options)
    expect_equal(fresh, first, of="an epoch, in a new sampler")
    expect_equal(again, first, of="an epoch after one that was broken off")
    expect_equal(begun, first[:3], of="the beginning of an epoch, iterated a second time")
    expect_equal(unsaid, first, of="an iteration without set_epoch, after one of this epoch")
    expect_equal(start, zero, of="an iteration of a new sampler without set_epoch")
    expect(len(part) > 0, "the epoch is empty")
    for name, lists in (("epoch", zero), ("seed", other)):
        # By chance alone a few per cent, the more the smaller a bucket is; lists that stay together, 100 %.
        common = len(pairs_of(lists) & pairs_of(first)) / max(1, len(pairs_of(first)))
        expect_at_most(common, 0.5, of=f"share of pairs in one list that are so under another {name} too")
    # By chance half of all pairs of lists have the longer one last, with a deviation of 0.04.
    means = [sum(lengths[index] for index in batch) / len(batch) for batch in first]
    rising = [one < two for place, one in enumerate(means) for two in means[place + 1 :]]
    share = sum(rising) / max(1, len(rising))
    expect(
        0.25 < share < 0.75,
        "the lists come sorted",
        yours=f"in {share:.0%} of all pairs the longer comes last",
    )


@check(
    item="bucketing",
    points=0.125,
    hint="With k as large as all differences there is one bucket, and chance alone decides.",
)
def without_a_bound_it_is_plain_batching(sub):
    """With k = 640, lists are full but for one, and differ inside as those of a plain shuffle do."""

    lengths, batch_size, _ = public().a_sampler(sub)
    (lists,), _ = public().lists_of(sub, lengths, [3], batch_size=batch_size, k=640)
    expect_at_least(len(lists), len(lengths) // batch_size, of="k = 640: lists")
    # That the rest is not lost is another check's matter.
    sizes = sorted(map(len, lists))[1:]
    expect_equal(sizes, [batch_size] * len(sizes), of="k = 640: sizes of the lists, but for one")
    shuffled = sub.rng.permutation(len(lengths)).split(batch_size)
    plain = public().gaps(lengths, [batch.tolist() for batch in shuffled])
    mine = public().gaps(lengths, lists)
    # The mean over 60 and more lists varies by 4 %; sorted lists have a tenth of it.
    ratio = sum(mine) / len(mine) / (sum(plain) / len(plain))
    expect_at_least(ratio, 0.7, of="k = 640: mean gap in a list, in those of a plain shuffle")


@check(
    item="bucketing",
    points=0.125,
    hint="All ranks draw the same lists and each takes its own; the rest that does not divide is nobody's.",
)
def ranks_share_an_epoch(sub):
    """On two numbers of ranks no two ranks share an index, and each has as many lists; the rest is left out."""

    lengths, batch_size, k = public().a_sampler(sub)
    epoch = sub.rng.integers(1, 9)
    (whole,), _ = public().lists_of(sub, lengths, [epoch], batch_size=batch_size, k=k, seed=5)
    expect_at_least(len(whole), 4, of="lists on one rank")
    # Numbers that leave a rest: without one, ranks that fill up with copies would not be seen.
    for world in [world for world in (3, 4, 5, 7) if len(whole) % world][:2]:
        seen, counts, twice = set(), [], 0
        for rank in range(world):
            options = {"batch_size": batch_size, "k": k, "seed": 5, "rank": rank, "world": world}
            (lists,), (count,) = public().lists_of(sub, lengths, [epoch], **options)
            expect_equal(count, len(lists), of=f"rank {rank} of {world}: what len() says")
            mine = {index for batch in lists for index in batch}
            twice += len(mine & seen)
            seen |= mine
            counts.append(len(lists))
        # Yours on one rank: how many lists there are is another check's matter.
        right = [len(whole) // world] * world
        expect_equal(counts, right, of=f"{world} ranks: lists of each, of {len(whole)} on one rank")
        expect_equal(twice, 0, of=f"{world} ranks: indices that two of them have")


def expect_lists(mine, lengths, k, count):
    """Fail unless these are so many full lists of different indices with gaps of at most k."""
    form = type(mine) is list and all(
        type(batch) is list and all(type(i) is int and 0 <= i < len(lengths) for i in batch) for batch in mine
    )
    expect(form and len(mine) == count, f"the first {count} lists of an epoch are not lists of indices")
    drawn = [index for batch in mine for index in batch]
    expect_equal(len(set(drawn)), len(drawn), of="different indices in the first lists")
    # Of millions of sequences hardly a list is not full.
    expect_at_least(len(drawn), 0.9 * 32 * count, of="indices in the first lists")
    expect_at_most(max(public().gaps(lengths, [batch for batch in mine if batch])), k + 1, of="gap in a list")


@check(
    item="bucketing",
    points=0.125,
    wall=240,
    hint="No shuffle, sort or copy of all indices when an epoch begins, and nothing that moves a list's rest.",
)
def a_list_costs_the_same_at_any_size(sub):
    """The first 60 lists of an epoch of 4,000,000 sequences, at most 2.5 times as long as by a plain solution."""
    count, seed, k = 4_000_000, sub.rng.integers(0, 1_000_000), 9
    lengths = driver().random_lengths(count, seed)
    sub.compare(
        "driver:first_lists",
        lambda: (count, seed, k, sub.rng.integers(0, 1_000_000_000), 60 + sub.rng.integers(0, 5)),
        against="part2_plain_hidden:first_lists",
        # A copy of the indices when an epoch begins takes 10 times as long as the plain solution.
        threshold=1 / 2.5,
        verify=lambda mine, right: expect_lists(mine, lengths, k, len(right)),
        wall=40,
    )


@check(
    item="bucketing",
    points=0.125,
    wall=180,
    hint="Look at every length once, and append its index to its bucket.",
)
def buckets_are_made_in_one_pass(sub):
    """A sampler of 200,000 to 220,000 sequences with k = 4 is made in 4 times what one pass over them takes."""
    k = 4

    def verify(mine, right):
        expect(type(mine) is dict and {"count", "first"} <= mine.keys(), "the driver's reply is damaged")
        expect_at_least(mine["count"], 0.9 * right["count"], of="lists")
        first = mine["first"]
        expect(type(first) is list and all(type(index) is int for index in first), "the first list is none")
        expect_at_least(len(first), 1, of="indices in the first list")

    sub.compare(
        "driver:build",
        lambda: (200_000 + sub.rng.integers(0, 20_000), sub.rng.integers(0, 1_000_000), k),
        against="part2_plain_hidden:build",
        # A pass for each of 128 buckets takes 20 times as long; sorting in Python, twice.
        threshold=1 / 4,
        verify=verify,
        wall=20,
    )


# --- packing ----------------------------------------------------------------------------------------------------


def fewest_rows(lengths, capacity):
    """Return the number of rows of the best packing there is, by trying all that differ."""
    order = sorted(lengths, reverse=True)
    best = len(order)

    def place(number, room):
        nonlocal best
        if len(room) >= best:
            return
        if number == len(order):
            best = len(room)
            return
        for row in {free: row for row, free in enumerate(room) if free >= order[number]}.values():
            room[row] -= order[number]
            place(number + 1, room)
            room[row] += order[number]
        place(number + 1, [*room, capacity - order[number]])

    place(0, [])
    return best


@check(
    item="packing",
    points=0.25,
    hint="From the longest to the shortest, each into the first row that has room for it, not the last one only.",
)
def packing_is_near_the_optimum(sub):
    """At most 11/9 of the fewest rows plus 6/9: by trial of all packings of 9, and by construction of large ones."""
    cases = []
    for _ in range(12):
        capacity = sub.rng.integers(12, 30)
        lengths = [sub.rng.integers(2, capacity // 2 + 2) for _ in range(9)]
        cases.append((lengths, capacity, fewest_rows(lengths, capacity)))
    # Full rows cut into pieces: no packing has fewer.
    for pieces in (2, 3, 5):
        capacity, rows, lengths = 640, 60, []
        for _ in range(rows):
            cuts = sorted({0, capacity, *(sub.rng.integers(1, capacity) for _ in range(pieces - 1))})
            lengths += [high - low for low, high in itertools.pairwise(cuts)]
        order = sub.rng.permutation(len(lengths)).tolist()
        cases.append(([lengths[place] for place in order], capacity, rows))
    # Short ones first, where first-fit without sorting takes 10/6 of the fewest; long ones that leave room for short.
    unit = sub.rng.integers(1, 7)
    many = 6 * sub.rng.integers(8, 12)
    cases.append(([15 * unit] * many + [34 * unit] * many + [51 * unit] * many, 101 * unit, many))
    cases.append(([60 * unit, 38 * unit] * many, 100 * unit, many))
    part = sub.rng.integers(200, 300)
    cases.append(([part, 640 - part] * many, 640, many))
    asked = [(lengths, capacity) for lengths, capacity, _ in cases]
    found = public().listed(
        sub.call("driver:rows_of", asked, wall=public().WALL).result, len(cases), "the driver's reply"
    )
    for rows, (lengths, capacity, fewest) in zip(found, cases, strict=True):
        of = f"{len(lengths)} sequences, capacity {capacity}"
        public().expect_rows(rows, lengths, capacity, of=of)
        expect_at_most(len(rows), 11 / 9 * fewest + 6 / 9, of=f"{of}: rows, of {fewest} at least")


@check(
    item="packing",
    points=0.125,
    hint="A row may hold one sequence that fills it, or sequences of one token.",
)
def odd_rows_are_packed(sub):
    """A row without room left, sequences of one token, another number for padding, many rows; masks of the same."""
    capacity = sub.rng.integers(8, 12)
    lengths = [capacity, 1, 1, capacity - 2, capacity - 1, 1, 2]
    sequences = public().random_sequences(sub, lengths)
    rows = [[0], [1, 2, 3], [4, 5], [6]]
    # Tokens: what segments, targets and positions are is another check's matter.
    public().expect_pack(sub, sequences, rows, capacity, 7, ("tokens",), odd=" of odd rows")
    segments = public().right_pack(sequences, rows, capacity, 7)["segments"]
    found = sub.call("driver:masks_of", [segments], wall=public().WALL).result
    (mask,) = public().listed(found, 1, "the driver's reply")
    fine = type(mask) is torch.Tensor and mask.dtype is torch.bool and mask.shape == (4, capacity, capacity)
    expect(fine, "the mask of odd rows is no bool tensor of [rows, capacity, capacity]")
    # Who sees whom besides is another check's matter.
    expect_equal(
        mask[0, -1], torch.ones(capacity, dtype=torch.bool), of="what the last token of a full row sees"
    )
    expect(
        bool(mask[1].diagonal().all()),
        "a token of a row with three sequences of one token does not see itself",
    )


# --- best_fit ---------------------------------------------------------------------------------------------------


@check(
    item="best_fit",
    points=0.5,
    wall=240,
    hint="Neither a look at every row, nor one at every amount of room: a tree over the amounts of room.",
    floor="part2_plain_hidden:best_fit_floor",
)
def a_sequence_takes_logarithmic_time(sub):
    """60,000 sequences in rows of 32,768 tokens, at most 3 times as long as by a plain tree with recursion."""

    capacity = 32_768

    def verify(mine, right):
        expect(type(mine) is dict and {"indices", "sizes"} <= mine.keys(), "the driver's reply is damaged")
        indices, sizes = mine["indices"], mine["sizes"]
        expect(
            type(indices) is torch.Tensor
            and type(sizes) is torch.Tensor
            and indices.shape == right["indices"].shape,
            "the rows do not hold every sequence once",
        )
        expect_equal(indices.sort().values, torch.arange(len(indices)), of="indices, sorted")
        expect_at_most(len(sizes), 1.05 * len(right["sizes"]), of="rows")

    sub.compare(
        "driver:best_fit_many",
        lambda: (60_000 + sub.rng.integers(0, 1000), sub.rng.integers(0, 1_000_000), capacity),
        against="part2_plain_hidden:best_fit_many",
        threshold=1 / 3,
        verify=verify,
        wall=12,
    )
