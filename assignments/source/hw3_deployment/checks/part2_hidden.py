"""Hidden checks of part 2: the same properties on other inputs. Never released."""

import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from grader.checks import check, expect, expect_at_least, expect_close, expect_equal


@cache
def public():
    """Return the names of the public file; at import its checks would be declared a second time, as hidden ones."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part2_public.py"))))


# --- cache ------------------------------------------------------------------------------------------------------


@check(
    item="cache",
    points=0.25,
    hint="Padding that a longer neighbour left behind, and its positions, must move with the sequence it belongs to.",
)
def sequences_come_and_go(sub):
    """Sequences of different lengths join, end and are doubled while others decode; each text stays its own."""
    tokens = lambda count: public().random_tokens(sub, count)  # noqa: E731
    steps = [
        ["prefill", public().some_prompts(sub, 3)],
        ["decode", tokens(3)],
        ["join", [tokens(sub.rng.integers(14, 20)), tokens(2)]],
        ["decode", tokens(5)],
        ["select", [4, 0, 1]],
        ["decode", tokens(3)],
        ["select", [1, 1, 2]],
        ["decode", tokens(3)],
        ["join", [tokens(1)]],
        ["decode", tokens(4)],
        ["select", [3]],
        ["decode", tokens(1)],
    ]
    public().expect_served(sub, public().random_weights(sub, width=24, layers=3), 3, steps)


@check(
    item="cache",
    points=0.25,
    wall=180,
    hint="One token goes through the layers in a step of decode, not the whole text.",
)
def a_step_costs_one_token(sub):
    """500 to 560 tokens, then 24 to 28 one by one: at most 2.5 times as long as by a plain solution with a cache."""

    def verify(mine, right):
        expect_close(mine, right, atol=1e-8, why="float64", of="logits after the last token")

    sub.compare(
        "driver:long_text",
        lambda: (sub.rng.integers(0, 1 << 40), 500 + sub.rng.integers(0, 61), 24 + sub.rng.integers(0, 5)),
        against="part2_plain_hidden:long_text",
        # Who computes the whole text in each step takes ten times as long.
        threshold=1 / 2.5,
        verify=verify,
        wall=20,
    )


# --- blocks -----------------------------------------------------------------------------------------------------


def some_tokens(sub, size, blocks, more=0):
    """Return random tokens: so many blocks full, and some more."""
    return public().random_tokens(sub, blocks * size + more).tolist()


def managed(sub, blocks, size, steps):
    """Return what the driver's `manage` said of each step, after a look at its form."""
    found = sub.call("driver:manage", blocks, size, steps, wall=public().WALL).result
    for each in public().listed(found, len(steps), "the reply"):
        keys = {"answer", "tables", "free"}
        expect(type(each) is dict and keys <= each.keys(), "the driver's reply is damaged")
        tables = list(each["tables"].values()) if type(each["tables"]) is dict else [None]
        right = all(type(table) is list and all(type(block) is int for block in table) for table in tables)
        expect(right, "a table is no list of blocks")
    return found


@check(
    item="blocks",
    points=0.2,
    hint="Full blocks only, and only with the same tokens from the very beginning of the prompt.",
)
def prompts_share_their_beginning(sub):
    """Prompts with a common beginning take new blocks only from where they differ; others take their own."""
    size = sub.rng.integers(3, 6)
    begin = some_tokens(sub, size, 3)
    prompts = [
        ("a", begin + some_tokens(sub, size, 1, 1), 0),
        ("b", [*begin, 60, *some_tokens(sub, size, 1)], 3),
        ("all", list(begin), 3),
        ("part", begin[: 2 * size - 1], 1),  # its second block is not full
        ("same", begin[: 2 * size - 1], 1),
        ("late", [begin[0] + 50, *begin[1:]], 0),  # the same blocks, but for the first token of all
        ("shifted", begin[size:], 0),  # the same blocks at another place
        ("again", [*begin, 61], 3),  # when the first that had this beginning has gone
    ]
    steps = [["add", name, prompt] for name, prompt, _ in prompts]
    steps.insert(-1, ["free", "a"])
    found = managed(sub, 40, size, steps)
    for name, _, right in prompts:
        number = next(number for number, step in enumerate(steps) if step[:2] == ["add", name])
        table = found[number]["tables"].get(name, [])
        before = (
            {block for other in found[number - 1]["tables"].values() for block in other} if number else set()
        )
        expect_equal(len(before.intersection(table)), right, of=f"blocks that the prompt {name} shares")


@check(
    item="blocks",
    points=0.15,
    hint="A block is free when its last user has gone, not before and not later.",
)
def nothing_leaks(sub):
    """600 random steps with forks and common beginnings: free is what stands in no table; in the end, everything."""
    size, steps, lengths, made = sub.rng.integers(2, 5), [], {}, 0
    begins = [some_tokens(sub, size, 2) for _ in range(3)]
    for _ in range(600):
        what, names = sub.rng.integers(0, 10), list(lengths)
        if what < 2 and len(names) < 8:
            made += 1
            own = sub.rng.choice(begins) if what else []
            prompt = own + some_tokens(sub, size, 0, sub.rng.integers(1, 2 * size))
            steps.append(["add", f"s{made}", prompt])
            lengths[f"s{made}"] = len(prompt)
        elif what == 2 and names and len(names) < 8:
            made += 1
            parent = sub.rng.choice(names)
            steps.append(["fork", parent, f"s{made}"])
            lengths[f"s{made}"] = lengths[parent]
        elif names and (what == 3 or lengths[names[0]] > 40):
            gone = sub.rng.choice(names) if what == 3 else names[0]
            steps.append(["free", gone])
            del lengths[gone]
        elif names:
            name = sub.rng.choice(names)
            steps.append(["append", name])
            lengths[name] += 1
    steps += [["free", name] for name in lengths]
    found = managed(sub, 400, size, steps)
    for number, each in enumerate(found):
        used = {block for table in each["tables"].values() for block in table}
        expect_equal(each["free"], 400 - len(used), of=f"step {number}, {steps[number][0]}: free blocks")
    expect_equal(found[-1]["free"], 400, of="free blocks after the last sequence has ended")


@check(
    item="blocks",
    points=0.15,
    hint="Look whether there are enough blocks before the first one is taken, or a count is changed.",
)
def a_refusal_changes_nothing(sub):
    """Where blocks are lacking, OutOfBlocks is raised, and everything goes on as if nobody had asked."""
    size = sub.rng.integers(3, 6)
    begin = some_tokens(sub, size, 2)
    steps = [
        ["add", "a", begin + some_tokens(sub, size, 1)],
        ["add", "b", begin + some_tokens(sub, size, 0, 1)],
        ["fork", "b", "c"],
        ["add", "large", begin + some_tokens(sub, size, 4)],  # refused: 4 blocks, and 3 are free
        ["add", "small", some_tokens(sub, size, 2)],
        ["add", "tight", begin + some_tokens(sub, size, 0, 2)],  # 3 blocks, of which 2 are there
        ["append", "a"],  # refused: its last block is full
        ["append", "c"],  # refused: it would need a copy
        *(["free", name] for name in ("a", "b", "c", "small", "tight")),
    ]
    refused = (3, 6, 7)
    found = managed(sub, 7, size, steps)
    for number, each in enumerate(found):
        of = f"step {number}, {steps[number][0]} of {steps[number][1]}"
        if number not in refused:
            expect(each["answer"] != "out of blocks", f"{of}: OutOfBlocks although there is room")
            continue
        expect_equal(
            each["answer"] or "nothing", "out of blocks", of=f"{of}, for which blocks are lacking: answer"
        )
        for name in ("free", "tables"):
            expect_equal(each[name], found[number - 1][name], of=f"{of}: {name} after the refusal")
    unasked = managed(sub, 7, size, [step for number, step in enumerate(steps) if number not in refused])
    expect_equal(
        found[-1]["free"], unasked[-1]["free"], of="free blocks at the end, with and without refusals"
    )


# --- scheduler --------------------------------------------------------------------------------------------------


def right_times(requests, policy, places, budget, cost):
    """Return what `simulate` should, by a loop over steps that looks at every request each time."""
    count = len(requests)
    order = sorted(range(count), key=lambda number: (requests[number]["arrival"], number))
    done, times = [0] * count, [[] for _ in requests]
    held, ended, now = [], set(), 0
    while len(ended) < count:
        new = [n for n in order if n not in held and n not in ended and requests[n]["arrival"] <= now]
        if not held and not new:
            now = min(requests[n]["arrival"] for n in order if n not in ended)
            continue
        prompts, decoding = {}, []
        unread = lambda n: requests[n]["prompt"] - done[n]  # noqa: E731
        if policy == "chunked":
            decoding = [n for n in held if not unread(n)]
            room = budget - len(decoding)
            for n in [n for n in held if unread(n)] + new[: places - len(held)]:
                if room:
                    prompts[n] = min(room, unread(n))
                    room -= prompts[n]
        else:
            if policy == "prefill_first" or not held:
                prompts = {n: requests[n]["prompt"] for n in new[: places - len(held)]}
            decoding = [] if prompts else list(held)
        held += [n for n in prompts if n not in held]
        now += cost[0] + cost[1] * sum(prompts.values()) + cost[2] * len(decoding)
        for n, read in prompts.items():
            done[n] += read
        for n in [*decoding, *(n for n in prompts if not unread(n))]:
            if len(times[n]) < requests[n]["output"]:
                times[n].append(now)
        over = [n for n in held if len(times[n]) == requests[n]["output"]]
        if policy != "static" or len(over) == len(held):
            held = [n for n in held if n not in over]
            ended.update(over)
    return times


@check(
    item="scheduler",
    points=0.25,
    hint="Requests are taken by arrival, whatever their order in the list; with nothing to do the clock jumps.",
)
def times_are_exact(sub):
    """40 random requests under each policy: unsorted, some at one time, with gaps in which nobody is there."""
    requests = public().random_requests(sub, 40, 60_000)
    requests[7]["arrival"] = requests[30]["arrival"] = requests[31]["arrival"]
    for number in (3, 11, 12):
        requests[number]["arrival"] += 400_000  # long after the others have ended
    cost = [sub.rng.integers(500, 900), sub.rng.integers(20, 60), sub.rng.integers(100, 200)]
    cases = []
    for policy in ("static", "prefill_first", "chunked"):
        arguments = (requests, policy, sub.rng.integers(3, 7), sub.rng.integers(8, 24), cost)
        cases.append((policy, arguments, right_times(*arguments), {}))
    public().expect_times(sub, cases)


# --- sampling ---------------------------------------------------------------------------------------------------


@check(
    item="sampling",
    points=0.125,
    hint="Temperature first, then top_k, then top_p on what is left, made to sum to one.",
)
def the_three_go_together(sub):
    """Temperature, top_k and top_p at once, where another order keeps other words (chi-square)."""
    # 0.4, 0.3, 0.2, 0.1 to the power 1/2 are 0.33, 0.28, 0.23, 0.16; the best three of them, 0.39, 0.34, 0.27.
    logits, chances = public().permuted(sub, [0.4, 0.3, 0.2, 0.1])
    rooted = chances.sqrt()
    best = rooted.sort(descending=True).values
    left = torch.where(rooted >= best[1], rooted, 0)
    options = {"temperature": 2.0, "top_k": 3, "top_p": 0.65}
    cases = [("temperature 2, top_k 3, top_p 0.65", logits, options, (left / left.sum()).tolist())]
    logits, chances = public().permuted(sub, [0.35, 0.3, 0.2, 0.15])
    cases.append(("top_k 9 of 4 words", logits, {"top_k": 9}, chances.tolist()))
    public().expect_draws(sub, cases)


@check(
    item="sampling",
    points=0.125,
    hint="Each row is drawn for itself, and from nothing but the generator.",
)
def rows_are_drawn_apart(sub):
    """A batch of three rows of different logits: each has its distribution, and equal seeds give equal tokens."""
    rows = sub.rng.uniform(-1, 1, (3, 6), dtype=torch.float64)
    seed, times, options = sub.rng.integers(0, 1 << 40), 15_000, {"top_k": 4}
    other = seed + 1
    cases = [[rows, times, options, each] for each in (seed, other, seed)]
    found = public().listed(sub.call("driver:draws", cases, wall=public().WALL).result, 3, "the reply")
    for tokens in found:
        public().counted(tokens, 6, of="tokens of three rows")
        expect_equal(len(tokens), 3 * times, of="number of tokens")
    expect_equal(found[2], found[0], of="tokens under the same seed")
    expect(not torch.equal(found[1], found[0]), "another seed gives the same tokens")
    for row, logits in enumerate(rows):
        chances = logits.softmax(-1)
        left = torch.where(chances >= chances.sort(descending=True).values[3], chances, 0)
        counts = public().counted(found[0][row::3].clone(), 6, of=f"row {row}")
        public().expect_chances(counts, (left / left.sum()).tolist(), of=f"row {row} of three")
    # The same row twice in a batch is drawn twice.
    same = float((found[0][0:-3:3] == found[0][3::3]).double().mean())
    expect(same < 0.99, "equal rows of a batch always get equal tokens", yours=f"{same:.2f} of them")


# --- export -----------------------------------------------------------------------------------------------------


@check(
    item="export", points=0.25, wall=150, hint="Heads and layers are arguments, and not those of an example."
)
def another_model_is_exported(sub):
    """Another width, three layers, three heads, 40 positions: the same, up to a text of all positions."""
    shapes = [(2, 5), (1, 40), (7, sub.rng.integers(2, 20))]
    public().expect_exported(sub, 3, shapes, width=24, layers=3, places=40)


# --- speculative ------------------------------------------------------------------------------------------------


@check(
    item="speculative",
    points=0.5,
    hint="After the first token that goes, nothing of the draft is left. If all stay, the last row has its turn.",
)
def texts_are_the_targets(sub):
    """Pairs of tokens and the number of tokens of 8,000 lists are distributed as they must be (chi-square)."""
    times = 8_000
    offered, target = public().random_chances(sub, 2, 4), public().random_chances(sub, 3, 4)
    found, drafts = public().verified(sub, offered, target, times, wall=60)
    stays = torch.minimum(offered, target[:2]).sum(-1).tolist()
    counts = [int(((found >= 0).sum(-1) == number).sum()) for number in (1, 2, 3)]
    chances = [1 - stays[0], stays[0] * (1 - stays[1]), stays[0] * stays[1]]
    public().expect_chances(counts, chances, of="number of tokens")
    more = found[found[:, 1] >= 0]
    expect_at_least(len(more), 100, of="lists of two tokens and more")
    first = torch.minimum(offered[0], target[0]) / stays[0]
    pairs = (first[:, None] * target[1][None]).flatten()
    counts = public().counted((more[:, 0] * 4 + more[:, 1]).clone(), 16, of="pairs of tokens")
    public().expect_chances(counts, pairs.tolist(), of="pairs of tokens")
    third = found[found[:, 2] >= 0][:, 2].clone()
    public().expect_chances(public().counted(third, 4, of="last token"), target[2].tolist(), of="last token")
    kept = (found[:, :2] == drafts) | (found[:, 1:] < 0)
    expect(bool(kept.all()), "what stands before the last token of a list is not the draft's")


# --- add_norm ---------------------------------------------------------------------------------------------------


@check(
    item="add_norm",
    points=0.25,
    wall=60,
    hint="The square of 256 is more than float16 can hold.",
    forgeable="as the public check of this item",
)
def large_rows_do_not_overflow(sub):
    """`out` of five rows of 512 elements around 1,000, as many as the block has: squares do not fit into float16."""
    public().expect_normalised(sub, 5, 512, 1000.0, 1e-5, ["out"])


@check(
    item="add_norm",
    points=0.25,
    wall=60,
    hint="eps is added to the mean of the squares, under the root. It is the eps that is given, not 1e-5.",
    forgeable="as the public check of this item",
)
def small_rows_are_damped(sub):
    """`out` of four rows of 256 elements around 0.002, as many as the block has, with an eps from 1e-5 to 2e-5."""
    public().expect_normalised(sub, 4, 256, 2e-3, float(sub.rng.uniform(1e-5, 2e-5, (1,))[0]), ["out"])
