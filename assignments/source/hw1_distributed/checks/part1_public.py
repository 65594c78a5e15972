"""Public checks of part 1. The hidden ones call the same procedures with other inputs."""

import re
import secrets
from collections import Counter

import torch

from grader.checks import (
    Failed,
    check,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
    gather,
    not_measured,
)

# Both only end what hangs, and the grader makes them longer where the machine is slow.
WALL = 15  # seconds for one run; an honest one takes under one second, a few on a busy machine
SOON = 10  # seconds until a failure must have come out; it takes a fraction of a second


def reply(run, *keys):
    """Return what the driver sent back, after a look at its form."""
    found = run.result
    expect(type(found) is dict and all(key in found for key in keys), "the driver's reply is damaged")
    return found


def expect_none_left(sub, run):
    """Fail where a process that began during the call is still alive."""
    if run.left is None:
        not_measured("processes left", "no control groups on this machine; the grader has them")
        return
    expect_at_most(run.left, 0, of="processes left behind")


def expect_processes(answer, workers):
    """Fail unless so many processes, and not the calling one, did the work at the same time."""
    expect_at_least(answer["processes"], workers, of="processes at work at the same time")
    expect(answer["here"] is False, "the calling process does workers' work", spec="in workers only")


def expect_failure(sub, message, target, *arguments):
    """Fail unless the call raises soon, with `message` (None: any), and leaves no process."""
    run = sub.call(target, *arguments, wall=SOON)
    answer = reply(run, "raised", "message")
    expect(
        isinstance(answer["raised"], str),
        "the failure of a worker does not come out",
        yours="returned as if nothing had happened",
        spec="an exception",
    )
    if message is not None:
        told = isinstance(answer["message"], str) and message in answer["message"]
        expect(told, "the exception lacks the worker's message", yours=answer["message"], spec=message)
    expect_none_left(sub, run)


# --- counting -----------------------------------------------------------------------------------------------


def expect_tokens(counts, texts):
    """Fail unless the counts have the tokens of the texts, each at least once and never too often.

    For checks of something else: counts that overwrite each other cost points where counts are compared.
    """
    right = word_counts(texts)
    expect(type(counts) is dict, "the counts are no mapping from token to number")
    missing = [token for token in right if token not in counts]
    expect(
        not missing,
        f"the counts lack {len(missing)} tokens",
        yours="(nothing)",
        spec=missing[0] if missing else "",
    )
    expect_equal(len(counts), len(right), of="number of different tokens")
    much = next((token for token, number in counts.items() if not 1 <= number <= right[token]), None)
    expect(
        much is None, f"{much!r} is counted too often or never", yours=counts.get(much), spec=right.get(much)
    )


def random_words(sub, count, length=6):
    """Return different words of random lower-case letters."""
    letters = sub.rng.integers(97, 123, (2 * count + 50, length)).to(torch.uint8).numpy()
    return list(dict.fromkeys(row.tobytes().decode() for row in letters))[:count]


def random_texts(sub, texts, length, words):
    """Return texts of `length` words; a word's frequency falls with its number."""
    share = sub.rng.uniform(0, 1, (texts, length), dtype=torch.float64)
    chosen = (len(words) ** share - 1).long().tolist()
    return [" ".join(words[index] for index in row) for row in chosen]


def word_counts(texts):
    """Return how often each word occurs, counted here."""
    return dict(Counter(re.findall(r"[a-z]+", " ".join(texts).lower())))


def expect_counts(counts, texts):
    """Compare counts of words with those that one process gets."""
    right = word_counts(texts)
    expect(type(counts) is dict, "the counts are no mapping from token to number")
    expect_equal(len(counts), len(right), of="number of different tokens")
    for token in sorted(right, key=right.get, reverse=True):
        if counts.get(token) != right[token]:
            expect_equal(counts.get(token), right[token], of=f"count of {token!r}")
    expect_equal(sum(counts.values()), sum(right.values()), of="number of tokens")


@check(
    item="counting",
    points=0.5,
    hint="Add the workers' counts up.",
    waiting="Receive a result before you join its sender: a pipe holds 64 KiB.",
)
def counts_equal_those_of_one_process(sub):
    """The counts of 3 workers, 45,000 different tokens in all, are added up without loss."""
    words = random_words(sub, 45_000)
    everything = [words[start : start + 300] for start in range(0, len(words), 300)]
    # 210 texts, as many for each worker: what becomes of a remainder is another check's matter.
    texts = [" ".join(line) for line in everything] + random_texts(sub, 60, 200, words[:500])
    expect_counts(sub.call("driver:count", texts, 3, wall=WALL).result, texts)


@check(
    item="counting",
    points=0.5,
    hint="Start all workers before you wait for one. Join every process that you started.",
    waiting="Start all workers before you wait for one; receive before you join.",
    forgeable="who tokenizes, only the tokenizer can tell; the processes that are left are counted outside",
    accepts={"constant": "who works is checked here, by the tokens found; other checks compare how often"},
)
def counting_uses_processes(sub):
    """4 processes tokenize at the same time, each text once, none of them the caller; none is left afterwards."""
    words = random_words(sub, 300)
    texts = [f"{number} {text}" for number, text in enumerate(random_texts(sub, 48, 30, words))]
    run = sub.call("driver:count_together", texts, 4, wall=WALL)
    answer = reply(run, "counts", "calls", "processes", "here")
    expect_processes(answer, 4)
    expect_equal(answer["calls"], torch.ones(48, dtype=torch.int64), of="times that each text is tokenized")
    expect_tokens(answer["counts"], texts)
    expect_none_left(sub, run)


# --- cooccurrence -------------------------------------------------------------------------------------------


def random_shards(sub, documents, length, words, missing=0.2):
    """Return shards (lists of documents); `documents` says how many are in each, ids lie in -1 .. words - 1."""
    shards = []
    for count in documents:
        shard = []
        for _ in range(count):
            ids = sub.rng.integers(0, words, (sub.rng.integers(length // 2, length + 1),))
            ids[sub.rng.uniform(0, 1, ids.shape) < missing] = -1
            shard.append(ids)
        shards.append(shard)
    return shards


def dense_pairs(shards, words, window):
    """Return rows, columns and counts of all pairs, by way of a dense matrix in float64."""
    matrix = torch.zeros(words, words, dtype=torch.float64)
    for document in (document for shard in shards for document in shard):
        for distance in range(1, min(window, len(document) - 1) + 1):
            left, right = document[:-distance], document[distance:]
            both = (left >= 0) & (right >= 0)
            share = torch.full((int(both.sum()),), 1 / distance, dtype=torch.float64)
            matrix.index_put_((left[both], right[both]), share, accumulate=True)
            matrix.index_put_((right[both], left[both]), share, accumulate=True)
    rows, columns = matrix.nonzero(as_tuple=True)
    return rows, columns, matrix[rows, columns]


def expect_pairs(found, shards, words, window):
    """Compare rows, columns and counts with the dense matrix."""
    expect(type(found) is list and len(found) == 3, "no three arrays came back", spec="rows, columns, counts")
    rows, columns, counts = dense_pairs(shards, words, window)
    for which, one in (("rows", found[0]), ("columns", found[1])):
        kind = f"{one.dtype} of shape {tuple(one.shape)}" if type(one) is torch.Tensor else type(one).__name__
        whole = type(one) is torch.Tensor and one.dtype == torch.int64 and one.dim() == 1
        expect(whole, f"{which} are no vector of int64", yours=kind, spec="int64 [K]")
        # Each entry becomes an object of Python's below; a message may hold 32 million.
        expect(len(one) <= 1000 + 10 * len(rows), f"far too many {which}", yours=len(one), spec=len(rows))
    mine, right = (
        list(zip(*(part.tolist() for part in two), strict=False)) for two in (found[:2], (rows, columns))
    )
    for these, those, words_ in ((right, mine, "is missing"), (mine, right, "does not occur")):
        if odd := sorted(set(these) - set(those)):
            told = f"the pair {odd[0]} {words_}, the first of {len(odd)} such pairs"
            raise Failed(told, f"{len(mine)} pairs", f"{len(right)} pairs")
    expect(
        len(mine) == len(set(mine)),
        "a pair comes twice",
        yours=f"{len(mine)} pairs",
        spec=f"{len(right)} pairs",
    )
    expect(
        mine == right,
        "the pairs are not sorted by row, then by column",
        yours=str(mine[:4]),
        spec=str(right[:4]),
    )
    why = "float64 sums of some hundred terms up to 1, in any order"
    expect_close(found[2], counts, atol=1e-9, why=why, of="counts")


def expect_some_pairs(found, shards, words, window):
    """Fail unless three arrays of one length came back, with a third or more of the pairs."""
    expect(type(found) is list and len(found) == 3, "no three arrays came back", spec="rows, columns, counts")
    alike = all(
        type(part) is torch.Tensor and part.dim() == 1 and len(part) == len(found[0]) for part in found
    )
    expect(alike, "the three arrays are not of one length")
    mine, right = (
        set(zip(*(part.tolist() for part in two), strict=True))
        for two in (found[:2], dense_pairs(shards, words, window)[:2])
    )
    expect(
        3 * len(mine & right) >= len(right),
        "most pairs are missing",
        yours=f"{len(mine)} pairs",
        spec=f"{len(right)} pairs",
    )


@check(
    item="cooccurrence",
    points=0.5,
    hint="Both directions count. Merge by adding. A -1 keeps its place; no pair spans two documents.",
)
def pairs_equal_the_dense_matrix(sub):
    """2 workers, 5 shards, window 5: the pairs and counts of a dense float64 matrix filled in one process."""
    shards = random_shards(sub, [3, 4, 3, 5, 2], 40, words=30)
    expect_pairs(sub.call("driver:pairs", shards, 30, 5, 2, wall=WALL).result, shards, 30, 5)


# --- gradients ----------------------------------------------------------------------------------------------

TABLES = ("focus", "context", "focus_bias", "context_bias")
FLOAT64 = "float64 sums of fewer than 100 terms below 100"


def random_glove(sub, words, dim, dtype=torch.float64):
    """Return a model with numbers of size 0.5."""
    shapes = [(words, dim), (words, dim), (words,), (words,)]
    return {
        name: sub.rng.normal(shape, std=0.5, dtype=dtype) for name, shape in zip(TABLES, shapes, strict=True)
    }


def random_batch(sub, words, size, dtype=torch.float64):
    """Return first words, second words, and counts from 0.2 to 1000, a third of them above 100."""
    counts = 10 ** sub.rng.uniform(-0.7, 3.0, (size,), dtype=torch.float64)
    return sub.rng.integers(0, words, (size,)), sub.rng.integers(0, words, (size,)), counts.to(dtype)


def dense_glove(model, first, second, counts, capped=True):
    """Return the loss, and its gradient for every entry of the model, by autograd in float64.

    Unless `capped`, the weight of a pair may exceed 1, which is a mistake.
    """
    leaves = {name: table.double().clone().requires_grad_() for name, table in model.items()}
    x = counts.double()
    products = (leaves["focus"][first] * leaves["context"][second]).sum(1)
    errors = products + leaves["focus_bias"][first] + leaves["context_bias"][second] - x.log()
    loss = ((x / 100).pow(0.75).clamp(max=1 if capped else torch.inf) * errors**2).mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return loss.item(), dict(zip(leaves, gradients, strict=True))


def expect_gradients(sub, model, batch, *, atol, why):
    """Compare `gradients` with autograd: the ids, ascending and once each, and their rows."""
    run = sub.call("driver:glove_gradients", model, *batch, wall=WALL)
    answer = reply(run, "gradients", "model")
    _, dense = dense_glove(model, *batch)
    found = answer["gradients"]
    expect(type(found) is dict and set(found) == set(TABLES), "the driver's reply is damaged")
    for name in TABLES:
        expect(
            type(found[name]) is list and len(found[name]) == 2, f"{name}: no ids with rows", spec="ids, rows"
        )
    # Who has no cap in the loss, which its own check charges, has none in the gradient of that loss.
    _, uncapped = dense_glove(model, *batch, capped=False)
    if all(nearer(found[name][1], uncapped[name], dense[name]) for name in TABLES):
        loss = sub.call("driver:glove_loss", model, *batch, wall=WALL).result
        ways = [dense_glove(model, *batch, capped=capped)[0] for capped in (True, False)]
        if type(loss) is float and abs(loss - ways[1]) < abs(loss - ways[0]):
            dense = uncapped
    for name in TABLES:
        rows, values = found[name]
        ids = (batch[0] if "focus" in name else batch[1]).unique()
        expect_equal(rows, ids, of=f"ids of {name}")
        expect_close(values, dense[name][ids].to(model[name].dtype), atol=atol, why=why, of=f"rows of {name}")
        expect_equal(answer["model"][name], model[name], of=f"{name} after the call")


def nearer(values, one, other):
    """Return whether the norm of `values` is nearer to that of `one` than to that of `other`."""
    if type(values) is not torch.Tensor:
        return False
    norm = values.double().norm()
    return bool((norm - one.norm()).abs() < (norm - other.norm()).abs())


def expect_descent(sub, model, gradients, rate, *, atol, why):
    """Compare `descend` with a subtraction of dense gradients."""
    found = sub.call("driver:glove_descend", model, gradients, rate, wall=WALL).result
    expect(type(found) is dict and set(found) == set(TABLES), "the driver's reply is damaged")
    for name in TABLES:
        rows, values = gradients[name]
        dense = torch.zeros_like(model[name], dtype=torch.float64).index_add_(0, rows, values.double())
        expected = (model[name].double() - rate * dense).to(model[name].dtype)
        expect_close(found[name], expected, atol=atol, why=why, of=f"{name} after a step")


@check(item="gradients", points=0.25, hint="min(1, (x / 100) ** 0.75), and the mean over the batch.")
def loss_equals_its_formula(sub):
    """The loss of 60 pairs, counts from 0.2 to 1000, in float64."""
    model, batch = random_glove(sub, 40, 7), random_batch(sub, 40, 60)
    found = sub.call("driver:glove_loss", model, *batch, wall=WALL).result
    expect_close(found, dense_glove(model, *batch)[0], atol=1e-9, why=FLOAT64, of="loss")


@check(item="gradients", points=0.5, hint="A word that stands in three pairs has the sum of three gradients.")
def gradients_equal_autograd(sub):
    """The four gradients of 60 pairs of 15 words, so that each word stands in several pairs, in float64."""
    expect_gradients(sub, random_glove(sub, 15, 7), random_batch(sub, 15, 60), atol=1e-9, why=FLOAT64)


@check(
    item="gradients",
    points=0.25,
    hint="table[rows] -= values keeps one of several rows with the same id; np.subtract.at keeps all.",
)
def repeated_ids_accumulate(sub):
    """A step with the gradients of three workers one behind the other, in which ids occur up to three times."""
    model, gradients = random_glove(sub, 12, 5), {}
    for name in TABLES:
        rows = torch.cat([sub.rng.permutation(12)[:8] for _ in range(3)])
        gradients[name] = (rows, sub.rng.normal((24, *model[name].shape[1:]), dtype=torch.float64))
    expect_descent(sub, model, gradients, 0.3, atol=1e-9, why=FLOAT64)


# --- hogwild ------------------------------------------------------------------------------------------------


def expect_visits(sub, *, count, workers, epochs, batch, public=True):
    """Train with steps that count visits; return the driver's answer.

    Unless `public`, workers need not be at work at the same time, nor in shared tables.
    """
    arguments = (count, workers, epochs, batch, sub.rng.integers(0, 1 << 30), public)
    run = sub.call("driver:hogwild_visits", *arguments, wall=WALL)
    answer = reply(run, "visits", "before", "processes", "here", "largest", "orders")
    if not public:
        return answer
    visits = torch.full((count, 2), epochs)
    expect_equal(answer["visits"], visits, of="visits of each entry, by two columns")
    expect_equal(answer["before"], torch.zeros_like(visits), of="the table that was given")
    expect_processes(answer, workers)
    expect_at_most(answer["largest"], batch, of="entries in one batch")
    expect_none_left(sub, run)
    return answer


@check(
    item="hogwild",
    points=0.5,
    hint="Copy the tables into RawArrays before the fork. Each worker has a share of the entries.",
    forgeable="who makes a step, only the step can tell; the processes that are left are counted outside",
)
def every_entry_once_per_epoch(sub):
    """4 workers, 3 epochs, 1,003 entries: each is visited 3 times, in tables that all workers see at once."""
    expect_visits(sub, count=1003, workers=4, epochs=3, batch=16)


@check(
    item="hogwild",
    points=0.5,
    hint="The worker sends the text of its exception, and the caller raises it and kills those still at work.",
    waiting="Wait for messages of all workers at once, not for one after the other.",
)
def an_exception_ends_the_training(sub):
    """A step raises in the first or last of 3 workers while others take minutes: the call raises, none is left."""
    for which in ("first", "last"):
        message = f"bad entry {secrets.token_hex(6)}"
        expect_failure(sub, message, "driver:hogwild_and_fail", 60, 3, which, "raises", message)


@check(
    item="hogwild",
    points=0.25,
    hint="Workers count in shared memory, each in a place of its own; the caller looks while they work.",
    forgeable="what is reported, and when, only the function that is called can tell",
    accepts=dict.fromkeys(("zeros", "constant", "cached"), "when it reports is checked, not what it returns"),
)
def progress_is_reported_while_workers_run(sub):
    """Workers that wait for a report get one; reports come from the caller, never fall, and end with all."""
    answer = reply(sub.call("driver:hogwild_progress", 240, 2, 2, 8, wall=WALL), "reports", "silent")
    reports = answer["reports"]
    expect(type(reports) is list and all(len(one) == 3 for one in reports), "the driver's reply is damaged")
    expect(answer["silent"] is False, "nothing is reported for seconds in the middle of the work")
    expect_at_least(len(reports), 2, of="reports")
    done = [one[0] for one in reports]
    expect(done == sorted(done), "the reported progress falls", yours=done[:20])
    expect_equal(done[-1], 480, of="entries in the last report")
    expect(all(one[2] is True for one in reports), "a worker reports", spec="the calling process reports")
    early = [f"{one[0]} of {one[1]}" for one in reports if one[0] > one[1]]
    expect(not early, "more is reported than has begun", yours=", ".join(early[:5]))


# --- server and staleness -----------------------------------------------------------------------------------


def expect_served(sub, table, plans, *, bound=None, may_fail=False):
    """Run a server with `table` and a worker per plan; return the run, and the table afterwards."""
    world = len(plans) + 1
    run = sub.ranks(
        "driver:serve_and_work",
        world=world,
        per_rank=[table, *plans],
        args=(table.shape[1], str(table.dtype).removeprefix("torch."), bound, may_fail),
        wall=WALL,
    )
    first = run.results[0]
    expect(type(first) is dict and "table" in first, "the driver's reply is damaged")
    pulled = run.results[1:]
    expect(all(type(found) is list for found in pulled), "the driver's reply is damaged")
    for found in pulled:
        expect(not found or not isinstance(found[-1], str), "".join(map(str, found[-1:]))[:100])
    return run, first, pulled


def whole_numbers(sub, shape, dtype=torch.float32):
    """Return random whole numbers as floating-point numbers, whose sums are exact in any order."""
    return sub.rng.integers(-50, 51, shape).to(dtype)


def random_work(sub, rank, rounds, *, rows, own, width, size, dtype=torch.float32, repeat=True):
    """Return a plan that pushes anywhere and pulls rows of the worker's own, and what these pulls must give.

    Rows repeat within a push if `repeat` says so.

    Row numbers from `rows` on belong to one worker each, `own` to every one: nobody else pushes there.
    """
    plan, changes, expected = [], [], []
    mine = rows + own * (rank - 1)
    for _ in range(rounds):
        common, private = sub.rng.integers(0, rows, (size,)), mine + sub.rng.integers(0, own, (size,))
        if not repeat:
            common, private = sub.rng.permutation(rows)[:size], mine + sub.rng.permutation(own)[:size]
        at = torch.cat([common, private])
        change = whole_numbers(sub, (len(at), width), dtype)
        plan += [["push", at, change], ["pull", mine + torch.arange(own)]]
        changes.append((at, change))
    total = torch.zeros(rows + own * rank, width, dtype=dtype)
    for at, change in changes:
        total.index_add_(0, at, change)
        expected.append(total[mine:].clone())
    return plan, changes, expected


def expect_sums(sub, *, workers, rounds=6, width=5, size=6, dtype=torch.float32, repeat=True):
    """Let workers push and pull at will: every pull sees the worker's own pushes, the table ends as the sum."""
    rows, own = 20, 4
    table = whole_numbers(sub, (rows + own * workers, width), dtype)
    right, plans, expected = table.clone(), [], []
    for rank in range(1, workers + 1):
        plan, changes, seen = random_work(
            sub, rank, rounds, rows=rows, own=own, width=width, size=size, dtype=dtype, repeat=repeat
        )
        start = table[rows + own * (rank - 1) : rows + own * rank]
        plans.append(plan)
        expected.append([start + change for change in seen])
        for at, change in changes:
            right.index_add_(0, at, change)
    _, first, pulled = expect_served(sub, table, plans)
    for rank, (found, wanted) in enumerate(zip(pulled, expected, strict=True), 1):
        expect_equal(len(found), len(wanted), of=f"pulls of rank {rank}")
        for number, (one, two) in enumerate(zip(found, wanted, strict=True)):
            expect_equal(one, two, of=f"pull {number + 1} of rank {rank}")
    expect_equal(first["table"], right, of="the server's table at the end")


@check(
    item="server",
    points=0.5,
    hint="Add what is pushed, with index_add_: rows repeat. Answer with the rows as they are at that moment.",
)
def the_server_adds_up_all_changes(sub):
    """3 workers push and pull at their own pace: a worker sees its own pushes, the table ends as the sum of all."""
    expect_sums(sub, workers=3)


@check(
    item="server",
    points=0.5,
    hint="Send the numbers of the rows, and those rows; neither the table nor anything to other workers.",
)
def only_the_rows_asked_for_travel(sub):
    """A pull of 100 rows and a push of 100 move 1.3 times their bytes at most, of a table of 50,000 rows."""
    rounds, size, width, workers = 25, 100, 32, 3
    table = torch.zeros(50_000, width)
    plans = [
        [
            ["push", sub.rng.permutation(50_000)[:size], whole_numbers(sub, (size, width))],
            # Other rows each time: what a client may remember is another check's matter.
            *[["pull", sub.rng.integers(0, 50_000, (size,))] for _ in range(rounds)],
            ["repeat", rounds, [["push", sub.rng.permutation(50_000)[:size], torch.ones(size, width)]]],
        ]
        for _ in range(workers)
    ]
    right = table.clone()
    for first, *_, last in plans:
        right.index_add_(0, first[1], first[2])
        right.index_add_(0, last[2][0][1], rounds * last[2][0][2])
    run, answer, _ = expect_served(sub, table, plans)
    expect_equal(answer["table"], right, of="the server's table at the end")
    if run.sent is None:
        not_measured("bytes between ranks", "no network namespaces on this machine; the grader has them")
        return
    once = size * width * 4
    numbers = size * 8
    to_server = sum(run.sent[rank][0] for rank in range(1, workers + 1))
    from_server = sum(run.sent[0])
    among = sum(run.sent[a][b] for a in range(1, workers + 1) for b in range(1, workers + 1) if a != b)
    # Headers and the confirmations of TCP add 12 % to the pushes here; whole tables are 500 times as much.
    whole = workers * rounds * (once + numbers)
    expect_at_most(from_server / whole, 1.3, of="times the rows pulled, from the server")
    expect_at_least(from_server / whole, 0.7, of="times the rows pulled, from the server")
    expect_at_most(to_server / (whole + workers * rounds * numbers), 1.3, of="times the rows pushed")
    expect_at_least(to_server / (whole + workers * rounds * numbers), 0.7, of="times the rows pushed")
    expect_at_most(among / whole, 0.01, of="times the rows, from worker to worker")


def clock_table(rows=4):
    """Return a table of zeros in which each worker counts its own pushes in a row of its own."""
    return torch.zeros(rows, 1)


def laps(rank, times):
    """Return a plan: `times` times, pull the worker's row and add 1 to it."""
    row = torch.tensor([rank])
    return ["repeat", times, [["pull", row], ["push", row, torch.ones(1, 1)]]]


@check(
    item="staleness",
    points=0.75,
    hint="Keep a pull back while its worker's pushes minus the fewest of any worker exceed the bound.",
    forgeable="how far one worker got is what another one's own pulls say; the table at the end is the server's",
    accepts={"cached": "the answers follow from who speaks when, whatever the inputs"},
)
def a_worker_stops_at_the_bound(sub):
    """Bound 3: a fast worker makes 4 pushes while a slow one makes none, one more after its first, then goes on."""
    expect_bound(sub, bound=3)


def expect_bound(sub, bound):
    """Let rank 2 watch how far rank 1 gets: `bound` + 1 pushes ahead of it and no more, then to its end."""
    slow, ahead, looks = torch.tensor([2]), bound + 1, 40
    # The fast worker has time for a push between two looks, however slow the machine: a look is a pull, and both
    # workers ask the same server.
    look = ["repeat", looks, [["pull", torch.tensor([1])], ["nap", 0.01]]]
    watch = [["until", 1, ahead], look]
    then = [["push", slow, torch.ones(1, 1)], ["until", 1, ahead + 1], look]
    _, first, pulled = expect_served(sub, clock_table(), [[laps(1, 40)], watch + then], bound=bound)
    expect(len(pulled[1]) == 2 * looks, "the driver's reply is damaged")
    for start, pushes, when in ((0, ahead, "none"), (looks, ahead + 1, "one")):
        of = f"pushes of the fast worker while the slow one has made {when}"
        with gather() as evidence:
            for found in pulled[1][start : start + looks]:
                evidence.measured.clear()
                expect_equal(found, torch.full((1, 1), float(pushes)), of=of)
    expect_equal(first["table"].flatten(), torch.tensor([0.0, 40.0, 1.0, 0.0]), of="pushes in all, by rank")
