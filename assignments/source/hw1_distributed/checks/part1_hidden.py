"""Hidden checks of part 1: the procedures of the public checks on the cases where solutions differ."""

import runpy
import secrets
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from grader.checks import (
    check,
    expect,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_slope_at_most,
)


def _load_public():
    """Return the names of the public file."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part1_public.py"))))


# Called when a check runs: at import, the public checks would be declared a second time, as hidden ones.
public = cache(_load_public)
MIB = 1 << 20


# --- counting -----------------------------------------------------------------------------------------------


@check(
    item="counting",
    points=0.25,
    hint="The worker sends the text of its exception, and the caller raises it; join all workers first.",
    waiting="Wait for answers of all workers; the end of a pipe is an answer.",
)
def a_failing_tokenizer_comes_out(sub):
    """A tokenizer that raises, and a worker that is killed, end the call with an exception; no process is left."""
    texts = public().random_texts(sub, 30, 10, public().random_words(sub, 50))
    poison = texts[sub.rng.integers(0, 30)]
    for how in ("raises", "is killed"):
        message = f"no text: {secrets.token_hex(6)}"
        said = message if how == "raises" else None
        public().expect_failure(sub, said, "driver:count_and_fail", texts, 3, poison, how, message)


@check(item="counting", points=0.125, hint="Some workers may have nothing to do.")
def counts_of_awkward_texts(sub):
    """Fewer texts than workers, one worker, texts without a token, no text at all."""
    words = public().random_words(sub, 40)
    for texts, workers in (
        (public().random_texts(sub, 2, 20, words), 4),
        (public().random_texts(sub, 7, 20, words), 3),
        (public().random_texts(sub, 7, 20, words), 1),
        (["", "123", *public().random_texts(sub, 3, 5, words)], 2),
        ([], 3),
    ):
        run = sub.call("driver:count", texts, workers, wall=public().WALL)
        # One worker's counts are added to nothing; what addition makes of several, the public check compares.
        (public().expect_counts if workers == 1 else public().expect_tokens)(run.result, texts)


@check(
    item="counting",
    points=0.125,
    wall=150,
    hint="Send counts, not tokens, from the workers to the caller, one message each.",
)
def counting_is_as_fast_as_two_processes(sub):
    """2 workers take no longer than 1.6 times what a plain solution with two processes and pipes takes."""
    words = public().random_words(sub, 4000)

    def inputs():
        return public().random_texts(sub, 2 * sub.rng.integers(625, 750), 150, words), 2

    def verify(mine, right):
        # That all was counted: counts that overwrite each other are another check's matter; made up, they would be
        # too large somewhere, or too small together.
        alike = (
            type(mine) is dict
            and mine.keys() == right.keys()
            and all(1 <= mine[token] <= right[token] for token in right)
            and sum(mine.values()) > 0.4 * sum(right.values())
        )
        expect(alike, "the counts are not those of the reference, or only a small part of them")

    sub.compare(
        "driver:count",
        inputs,
        against="part1_parallel_hidden:count",
        # A shared counter and one queue take 1.2 to 1.35 times as long; sending tokens, twice as long.
        threshold=1 / 1.6,
        verify=verify,
        clock="wall",
        cpus=2,
        wall=public().WALL,
    )


# --- cooccurrence -------------------------------------------------------------------------------------------


@check(
    item="cooccurrence",
    points=0.25,
    hint="Give the workers the function and the numbers of their shards, not the documents.",
    forgeable="who loads a shard, only the loader can tell; the processes that are left are counted outside",
)
def shards_are_loaded_by_workers(sub):
    """3 processes load the shards at the same time, each once; a shard that cannot be read ends the call."""
    shards = public().random_shards(sub, [1, 2, 1, 2, 1, 1], 20, words=9)
    run = sub.call("driver:pairs_together", shards, 9, 2, 3, wall=public().WALL)
    answer = public().reply(run, "pairs", "calls", "processes", "here")
    public().expect_processes(answer, 3)
    expect_equal(answer["calls"], torch.ones(6, dtype=torch.int64), of="times that each shard is loaded")
    # Which pairs they are, the public check compares.
    public().expect_some_pairs(answer["pairs"], shards, 9, 2)
    public().expect_none_left(sub, run)
    message = f"unreadable: {secrets.token_hex(6)}"
    public().expect_failure(sub, message, "driver:pairs_and_fail", shards, 9, 2, 3, 4, message)


@check(item="cooccurrence", points=0.25, hint="Documents may be shorter than the window, shards empty.")
def pairs_of_awkward_documents(sub):
    """Short and empty documents, windows of 1 and of 12, one word only, fewer shards than workers, no pair at all."""
    rng, words = sub.rng, 6

    def pairs(shards, window, workers):
        return sub.call("driver:pairs", shards, words, window, workers, wall=public().WALL).result

    # An awkward case is held against the student's own answer in a plain one: which pairs count is public.
    longer = [rng.integers(0, words, (n,)) for n in (7, 9, 8, 10)]
    five = [rng.integers(0, words, (n,)) for n in (5, 4, 5, 3)]
    nothing, one = torch.zeros(0, dtype=torch.int64), torch.tensor([2])
    same = [torch.full((7,), 4), torch.tensor([-1, 4, 4, -1, 4])]
    for plain, window, workers, awkward, wide, many, of in (
        (
            [longer[:2], longer[2:]],
            3,
            2,
            [[nothing, *longer[:2]], [], [one], longer[2:]],
            3,
            2,
            "empty documents",
        ),
        ([longer[:2], longer[2:]], 3, 2, [longer[:2], longer[2:]], 3, 5, "fewer shards than workers"),
        ([five], 4, 1, [five], 12, 1, "a window longer than the documents"),
    ):
        known = pairs(plain, window, workers)
        public().expect_some_pairs(known, plain, words, window)
        found = pairs(awkward, wide, many)
        expect(type(found) is list and len(found) == 3, f"{of}: no three arrays came back")
        for which, here, there in zip(("rows", "columns", "counts"), found, known, strict=True):
            if which == "counts":
                expect_close(here, there, atol=1e-9, why="your own counts without it", of=f"{of}: {which}")
            else:
                expect_equal(here, there, of=f"{of}: {which}")
    public().expect_some_pairs(pairs([longer], 1, 1), [longer], words, 1)
    found = pairs([same], 3, 4)
    alone = type(found) is list and len(found) == 3 and [part.tolist() for part in found[:2]] == [[4], [4]]
    expect(alone, "one word only: not the one pair of it", yours=found, spec="rows [4], columns [4]")
    found = pairs([[torch.tensor([-1, -1]), one], []], 5, 2)
    empty = [torch.zeros(0, dtype=kind) for kind in (torch.int64, torch.int64, torch.float64)]
    expect(type(found) is list and len(found) == 3, "no pair at all: no three arrays came back")
    for which, here, there in zip(("rows", "columns", "counts"), found, empty, strict=True):
        expect_equal(here, there, of=f"no pair at all: {which}")


# --- gradients ----------------------------------------------------------------------------------------------


@check(item="gradients", points=0.25, hint="Keep the model's dtype; a batch may hold one pair, or one word.")
def gradients_of_awkward_batches(sub):
    """One pair; a word paired with itself only; counts of exactly 100; float32, which stays float32."""
    many = public()
    for words, size, dtype in ((9, 1, torch.float64), (1, 20, torch.float64), (11, 40, torch.float32)):
        model, batch = many.random_glove(sub, words, 6, dtype), many.random_batch(sub, words, size, dtype)
        batch[2][size // 2 :] = 100.0
        loose = dtype == torch.float32
        why = "float32: sums of up to 40 terms below 10" if loose else many.FLOAT64
        expect_own_gradients(sub, model, batch, wide=loose)
        found = sub.call("driver:glove_loss", model, *batch, wall=many.WALL).result
        expect(type(found) is float and found > 0, "the loss is no positive number", yours=found)
        rows = batch[0].unique()
        gradients = {
            name: (rows, sub.rng.normal((len(rows), *model[name].shape[1:]), dtype=dtype))
            for name in many.TABLES
        }
        many.expect_descent(sub, model, gradients, 0.1, atol=1e-5 if loose else 1e-9, why=why)


def expect_own_gradients(sub, model, batch, *, wide):
    """Compare form and dtype of gradients, and where `wide`, numbers with the student's own in float64."""
    answer = public().reply(
        sub.call("driver:glove_gradients", model, *batch, wall=public().WALL), "gradients"
    )
    if wide:
        double = {name: table.double() for name, table in model.items()}
        call = sub.call("driver:glove_gradients", double, *batch[:2], batch[2].double(), wall=public().WALL)
        own = public().reply(call, "gradients")["gradients"]
    for name in public().TABLES:
        found = answer["gradients"][name]
        expect(type(found) is list and len(found) == 2, f"{name}: no ids with rows", spec="ids, rows")
        ids = (batch[0] if "focus" in name else batch[1]).unique()
        expect_equal(found[0], ids, of=f"ids of {name}")
        rows, table = found[1], model[name]
        right = type(rows) is torch.Tensor and rows.dtype == table.dtype and rows.shape == table[ids].shape
        kind = (
            f"{rows.dtype} of shape {tuple(rows.shape)}"
            if type(rows) is torch.Tensor
            else str(type(rows).__name__)
        )
        spec = f"{table.dtype} of shape {tuple(table[ids].shape)}"
        expect(right, f"rows of {name} have another shape or dtype", yours=kind, spec=spec)
        if wide:
            why = "your own in float64; float32 sums of up to 40 terms below 10"
            expect_close(
                rows, own[name][1].to(rows.dtype), atol=1e-4, rtol=1e-4, why=why, of=f"rows of {name}"
            )
        else:
            expect(bool(rows.isfinite().all()), f"rows of {name} are not finite")


@check(item="gradients", points=0.25, hint="No array as large as the model: only the rows of the batch.")
def a_step_needs_no_memory_for_the_vocabulary(sub):
    """Peak memory grows by no more than 1.3 models with the number of words: the model and nothing like it."""
    dim = 24
    word = 2 * 4 * (dim + 1)  # bytes of a word in the model, float32

    def run(words):
        found = sub.call("driver:glove_steps", words, dim, 64, sub.rng.integers(0, 1 << 30), 3)
        sizes = public().reply(found, "sizes")["sizes"]
        expect_at_most(max(sizes), 64, of="rows in one gradient")
        return found

    line = sub.slope(run, sizes=(50_000, 350_000, 650_000))
    # One array as large as a table makes 1.48 models. `fixed` is several times what an interpreter with NumPy takes
    # of its own, 10 to 20 MiB by the size of a page, and below the model of the largest size, 124 MiB.
    expect_slope_at_most(
        line, 1.3 * word, fixed=60 * MIB, of="bytes per word of the model, in models", unit=word
    )


# --- hogwild ------------------------------------------------------------------------------------------------


@check(
    item="hogwild",
    points=0.25,
    hint="np.random.default_rng([seed, worker]), and a new order in each epoch.",
    forgeable="which entry comes when, only the step can tell",
    accepts=dict.fromkeys(("zeros", "constant"), "the order of the visits is checked, not what is returned"),
)
def orders_differ(sub):
    """The order is random, and another one in each epoch and in each worker."""
    count, workers, epochs = 360, 3, 2
    answer = public().expect_visits(sub, count=count, workers=workers, epochs=epochs, batch=4, public=False)
    orders = answer["orders"]
    expect(type(orders) is list and sum(map(len, orders)) == count * epochs, "the driver's reply is damaged")
    patterns = []
    for log in orders:
        # The places, in the order of a worker's own share, that it visits one after the other.
        share, places = log.unique(return_inverse=True)
        per_epoch = [places[: len(share)].tolist(), places[len(share) :].tolist()]
        straight = list(range(len(share)))
        expect(len(share) < 20 or per_epoch[0] != straight, "the order is not random", spec="shuffled")
        expect(len(share) < 20 or per_epoch[0] != per_epoch[1], "two epochs have one order")
        patterns.append(per_epoch[0])
    for number, one in enumerate(patterns):
        same = [two for two in patterns[:number] if len(one) >= 20 and one == two]
        expect(not same, "two workers visit their shares in one order: they have the same random state")


@check(
    item="hogwild",
    points=0.25,
    hint="No lock around a step: that is what HOGWILD! means.",
    forgeable="how long a step takes, the driver says beside the code that is timed; the whole is timed outside",
    accepts=dict.fromkeys(
        ("zeros", "constant", "cached"), "steps and time are measured, not what is returned"
    ),
)
def steps_overlap(sub):
    """4 workers with 30 steps each that only wait take less than 2.2 times as long as one worker with 30 steps."""
    ratios = []
    for _ in range(2):  # a second look where something else kept the machine busy
        # What 4 workers take for nothing is at most a fifth of the steps: 1.2 times as long without a lock. With
        # one, 4 times the steps are 4 / 1.2 = 3.3 times as long at least.
        start = naps(sub, 4, 1, 0.0)
        nap = max(0.02, 5 * start / 30)
        one, four = (naps(sub, workers, 30, nap) for workers in (1, 4))
        # What one worker takes beyond its naps is not the student's to add.
        ratios.append(four / min(one, 36 * nap))
        if ratios[-1] <= 2.2:
            break
    expect_at_most(min(ratios), 2.2, of="times as long with 4 times the steps on 4 workers")


def naps(sub, workers, steps, seconds):
    """Return the time of a training whose steps only wait, all of which were made."""
    run = sub.call("driver:hogwild_naps", workers, steps, seconds)
    expect_equal(run.result, workers * steps, of=f"steps made by {workers} workers")
    return run.wall


@check(
    item="hogwild",
    points=0.25,
    hint="Shares may be empty; shape and dtype of each table stay.",
    waiting="A killed worker sends nothing; the end of its pipe tells, once nobody else holds its end.",
)
def a_killed_worker_ends_the_training(sub):
    """A killed worker ends the call with an exception, whatever the others do; other sizes, shapes and dtypes."""
    for which in ("first", "last"):
        public().expect_failure(sub, None, "driver:hogwild_and_fail", 60, 3, which, "is killed", "")
    for count, workers, batch in ((2, 4, 8), (50, 1, 7), (30, 3, 100)):
        expect_added(sub, count, workers, batch)


def expect_added(sub, count, workers, batch, epochs=2):
    """Train where every entry has rows of its own in tables of several shapes and dtypes."""
    dtypes, shapes = (torch.float32, torch.float64, torch.int64), ((), (3,), (2, 2))
    tables = {
        f"{dtype}".removeprefix("torch."): sub.rng.integers(-9, 10, (count, *shape)).to(dtype)
        for dtype, shape in zip(dtypes, shapes, strict=True)
    }
    columns = [sub.rng.permutation(count), sub.rng.integers(1, 9, (count,))]
    run = sub.call("driver:hogwild_adds", tables, columns, workers, epochs, batch, wall=public().WALL)
    answer = public().reply(run, "after", "before")
    for name, table in tables.items():
        share = (epochs * columns[1]).view(-1, *[1] * (table.dim() - 1)).expand(count, *table.shape[1:])
        expected = table.clone().index_add_(0, columns[0], share.to(table.dtype).contiguous())
        expect_equal(
            answer["after"][name], expected, of=f"{name} table with {count} entries, {workers} workers"
        )
        expect_equal(answer["before"][name], table, of=f"{name} table that was given")


# --- server and staleness -----------------------------------------------------------------------------------


@check(
    item="server",
    points=0.5,
    hint="Answer each message when it comes; never wait for a certain worker.",
    waiting="Answer each message when it comes; never wait for a certain worker.",
    forgeable="how far one worker got is what another one's own pulls say; the table at the end is the server's",
    accepts={"cached": "the answers follow from who speaks when, whatever the inputs"},
)
def nobody_waits_for_a_slow_worker(sub):
    """Without a bound, 2 workers make 5 pushes each before a third says anything."""
    # The third hears past the server that the others are done, which their last pull has told them.
    slow = [["pull", torch.tensor([1, 2])], ["push", torch.tensor([3]), torch.ones(1, 1)]]
    plans = [[public().laps(rank, 5), ["pull", torch.tensor([rank])], ["tell", 3]] for rank in (1, 2)]
    plans.append([["hear", 1], ["hear", 2], *slow])
    _, first, pulled = public().expect_served(sub, public().clock_table(), plans)
    seen = pulled[2][0] if pulled[2] else None
    expect_equal(seen, torch.full((2, 1), 5.0), of="pushes that the slow worker finds")
    pushes = torch.tensor([0.0, 5.0, 5.0, 1.0])
    expect_equal(first["table"].flatten(), pushes, of="pushes in all, by rank")


@check(
    item="server", points=0.25, hint="Take width and dtype from the table. A row may be named twice, or none."
)
def the_server_takes_other_tables(sub):
    """float64, one column, 1 and 4 workers; pulls of a row twice or of no row; a worker that does nothing."""
    # One round, and rows that do not repeat: what is remembered or lost, the public check compares.
    public().expect_sums(sub, workers=1, rounds=1, width=1, dtype=torch.float64, repeat=False)
    public().expect_sums(sub, workers=4, rounds=1, width=3, repeat=False)
    table = public().whole_numbers(sub, (9, 4), torch.float64)
    rows = torch.cat([sub.rng.permutation(9), torch.tensor([7, 7, 0])])
    nothing = torch.zeros(0, dtype=torch.int64)
    plan = [["pull", rows], ["push", nothing, table[:0]], ["pull", nothing], ["pull", rows[:1]]]
    _, first, pulled = public().expect_served(sub, table, [plan, []])
    for found, wanted in zip(pulled[0], (rows, nothing, rows[:1]), strict=True):
        expect_equal(found, table[wanted], of=f"pull of {len(wanted)} rows")
    expect_equal(first["table"], table, of="the server's table at the end")


@check(
    item="server",
    points=0.25,
    hint="__exit__ tells the server of the failure; serve goes on, and raises last.",
    waiting="__exit__ tells the server also where the block has raised; else it waits for ever.",
)
def a_failing_worker_comes_out(sub):
    """A worker that fails stops nobody; serve raises when the others have left, and its table holds all changes."""
    bad = sub.rng.integers(1, 4)
    plans = [[public().laps(rank, 8)] for rank in (1, 2, 3)]
    plans[bad - 1] = [public().laps(bad, 2), ["fail", "out of data"]]
    _, first, _ = public().expect_served(sub, public().clock_table(), plans, may_fail=True)
    pushes = torch.tensor([0.0] + [2.0 if rank == bad else 8.0 for rank in (1, 2, 3)])
    expect_equal(first["table"].flatten(), pushes, of="pushes in all, by rank")
    expect_equal(first.get("raised"), "RuntimeError", of="what serve raises")
    told = first.get("message")
    named = isinstance(told, str) and str(bad) in told
    expect(named, "serve does not name the rank that failed", yours=told, spec=str(bad))


@check(
    item="staleness",
    points=0.5,
    hint="Count only workers that have neither left nor failed.",
    forgeable="how far one worker got is what another one's own pulls say; the table at the end is the server's",
    accepts={"cached": "the answers follow from who speaks when, whatever the inputs"},
)
def bounds_of_other_runs(sub):
    """Bound 0 (lock-step) and 6; three workers, of which one leaves early and one fails: nobody waits for those."""
    public().expect_bound(sub, bound=0)
    public().expect_bound(sub, bound=6)
    gone = [public().laps(2, 1)]
    broken = [public().laps(3, 1), ["fail", "out of data"]]
    plans = [[public().laps(1, 20)], gone, broken]
    _, first, _ = public().expect_served(sub, public().clock_table(), plans, bound=2, may_fail=True)
    expect_equal(first["table"].flatten(), torch.tensor([0.0, 20.0, 1.0, 1.0]), of="pushes in all, by rank")


@check(
    item="staleness",
    points=0.25,
    hint="All workers count from the start, also those not heard of yet.",
    forgeable="how far one worker got is what another one's own pulls say; the table at the end is the server's",
    accepts={"cached": "the answers follow from who speaks when, whatever the inputs"},
)
def the_slowest_of_three_sets_the_pace(sub):
    """Bound 1, three workers: none gets more than 2 pushes ahead of the slowest, which may not have spoken yet."""
    # Rank 3 says nothing in ten times the time of the two pushes that each of the others may make. Were it not
    # counted, rank 1 would follow rank 2 to its end.
    late = [["outlast", [1, 2], 1.0], ["pull", torch.tensor([1, 2])], laps_of_the_last()]
    plans = [[public().laps(rank, 2), ["tell", 3], public().laps(rank, 7)] for rank in (1, 2)] + [late]
    _, first, pulled = public().expect_served(sub, public().clock_table(), plans, bound=1)
    expect(bool(pulled[2]), "the driver's reply is damaged")
    expect_at_most(pulled[2][0].max().item(), 2, of="pushes ahead of a worker that has not spoken")
    expect_equal(first["table"].flatten(), torch.tensor([0.0, 9.0, 9.0, 9.0]), of="pushes in all, by rank")


def laps_of_the_last():
    """Return the plan of rank 3, which makes as many pushes as the others."""
    return public().laps(3, 9)
