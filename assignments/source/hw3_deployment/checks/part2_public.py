"""Public checks of part 2. The hidden ones call the same procedures with other inputs."""

import math
from collections import Counter

import torch
import torch.nn.functional as F
from scipy.stats import chi2

from grader.checks import (
    Failed,
    Launch,
    Out,
    StudentError,
    check,
    expect,
    expect_at_most,
    expect_close,
    expect_equal,
)

# Seconds for one run, only to end what hangs; longer where the machine is slow. An honest one takes under a second.
WALL = 20
EXPORT_WALL = 120  # the exporter imports much, and takes some ten seconds
BY_CHANCE = 1e-8  # how often a right solution fails a test of its distribution


def told_of(sub, name, target, *arguments, wall=WALL, hint=None):
    """Return the result of a call; an exception of the student's is told as a failure of the case `name`."""
    try:
        return sub.call(target, *arguments, wall=wall).result
    except StudentError as error:
        if not error.why.startswith("raised "):
            raise
        raise Failed(f"{name}: {error.why}", error.yours, error.expected, hint=hint) from None


def listed(value, count, what):
    """Return a list of the student's, after a look at its form."""
    expect(type(value) is list, f"{what} is no list", yours=type(value).__name__)
    expect(len(value) == count, f"{what} has {len(value)} entries", spec=str(count))
    return value


# --- cache ------------------------------------------------------------------------------------------------------


def random_weights(sub, words=50, places=64, width=16, layers=2):
    """Return weights for `forward`, float64."""
    shapes = {"token": (words, width), "position": (places, width)}
    for layer in range(layers):
        shapes |= {f"{layer}.qkv": (width, 3 * width), f"{layer}.out": (width, width)}
        shapes |= {f"{layer}.up": (width, 4 * width), f"{layer}.down": (4 * width, width)}
    return {name: sub.rng.normal(shape, dtype=torch.float64) / 3 for name, shape in shapes.items()}


def forward(weights, tokens, heads):
    """Return what the `forward` of kv_cache.py does, which may have been edited there."""
    batch, length = tokens.shape
    hidden = weights["token"][tokens] + weights["position"][:length]
    width = hidden.shape[-1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    for layer in range(sum(name.endswith(".qkv") for name in weights)):
        mixed = F.layer_norm(hidden, (width,)) @ weights[f"{layer}.qkv"]
        query, key, value = mixed.reshape(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // heads)
        seen = scores.masked_fill(~causal, -math.inf).softmax(-1) @ value
        hidden = hidden + seen.transpose(1, 2).reshape(batch, length, width) @ weights[f"{layer}.out"]
        hidden = (
            hidden
            + (F.layer_norm(hidden, (width,)) @ weights[f"{layer}.up"]).relu() @ weights[f"{layer}.down"]
        )
    return F.layer_norm(hidden, (width,)) @ weights["token"].T


def random_tokens(sub, *shape):
    """Return tokens of 50 words."""
    return sub.rng.integers(0, 50, shape)


def expect_served(sub, weights, heads, steps):
    """Run `steps` of the driver's `serve`, and compare each answer with `forward` on every whole text."""
    found = listed(sub.call("driver:serve", weights, heads, steps, wall=WALL).result, len(steps), "the reply")
    texts = []
    for number, ((name, value), logits) in enumerate(zip(steps, found, strict=True)):
        if name == "select":
            texts = [texts[each] for each in value]
            continue
        if name == "decode":
            texts = [torch.cat([text, token[None]]) for text, token in zip(texts, value, strict=True)]
            asked = texts
        else:
            texts = texts + list(value) if name == "join" else list(value)
            asked = list(value)
        right = torch.stack([forward(weights, text[None], heads)[0, -1] for text in asked])
        expect(
            type(logits) is not torch.Tensor or not bool(logits.isnan().any()),
            f"step {number} of {len(steps)}, {name}: logits are NaN",
            hint="A softmax over nothing is 0/0: a token that may attend to nobody gets NaN, and NaN spreads.",
        )
        what = {"prefill": "prefill", "join": "prefill of sequences that join", "decode": "decode"}[name]
        expect_close(
            logits,
            right,
            atol=1e-8,
            why="float64; a wrong position or a neighbour that shows through changes it by 0.01 and more",
            of=f"logits of {what}, step {number} of {len(steps)}",
        )


def some_prompts(sub, count):
    """Return prompts of different lengths, one of one token among them."""
    lengths = [1, *(sub.rng.integers(2, 12) for _ in range(count - 2)), 12]
    return [random_tokens(sub, length) for length in lengths]


@check(
    item="cache",
    points=0.25,
    hint="Each prompt's positions begin at 0, wherever its padding stands; nobody attends to padding; and the logits "
    "are those of its own last token.",
)
def prefill_answers_each_prompt(sub):
    """Prompts of 1 to 12 tokens in one batch give the logits that `forward` gives for the last token of each."""
    expect_served(sub, random_weights(sub), 4, [["prefill", some_prompts(sub, 4)]])


@check(
    item="cache",
    points=0.25,
    hint="The new token's position is the length of its own text, and its key and value belong to the cache as well.",
)
def decode_goes_on_from_the_cache(sub):
    """Six tokens more for four prompts of one length, one at a time: the logits of `forward` on the whole texts."""
    prompts = [random_tokens(sub, 5) for _ in range(4)]
    steps = [["decode", random_tokens(sub, 4)] for _ in range(6)]
    expect_served(sub, random_weights(sub), 4, [["prefill", prompts], *steps])


# --- blocks -----------------------------------------------------------------------------------------------------


class Memory:
    """The blocks themselves, which the examiner writes as the manager says, to see whether texts survive."""

    def __init__(self, blocks, size):
        self.blocks, self.size = blocks, size
        self.content = [[None] * size for _ in range(blocks)]
        self.texts, self.tables = {}, {}

    def write(self, name, table, start):
        """Write the tokens of a sequence from `start` on where the table says."""
        for place in range(start, len(self.texts[name])):
            self.content[table[place // self.size]][place % self.size] = self.texts[name][place]

    def follow(self, step, found, *, of):
        """Do what the step asked for, with the tables that the manager gave, and read every text again."""
        what, name, *rest = step
        answer, tables = found["answer"], found["tables"]
        expect(type(tables) is dict, f"{of}: the driver's reply is damaged")
        expect(answer != "out of blocks", f"{of}: OutOfBlocks although there is room")
        if what == "free":
            del self.texts[name]
        elif what == "fork":
            self.texts[rest[0]] = list(self.texts[name])
        elif what == "add":
            self.texts[name] = list(rest[0])
        else:
            self.texts[name].append(rest[0])
        expect_equal(sorted(tables), sorted(self.texts), of=f"{of}: names of the sequences")
        for each, table in tables.items():
            right = -(-len(self.texts[each]) // self.size)
            listed(table, right, f"{of}: the table of {each}, of {len(self.texts[each])} tokens,")
            inside = all(type(block) is int and 0 <= block < self.blocks for block in table)
            expect(inside, f"{of}: a table names a block that is none", yours=str(table)[:80])
        if what == "add":
            self.write(name, tables[name], 0)
        if what == "append":
            pairs = answer if type(answer) is list else [answer]
            right = all(type(pair) is list and len(pair) == 2 for pair in pairs)
            right = right and all(
                type(one) is int and 0 <= one < self.blocks for pair in pairs for one in pair
            )
            expect(
                right and type(answer) is list,
                f"{of}: append returned no list of pairs of blocks",
                yours=str(answer)[:80],
                spec="[(from, to)] or []",
                hint="",
            )
            for old, new in pairs:
                expect(
                    old in self.tables[name] and new in tables[name],
                    f"{of}: the copy does not lead from the sequence's old block to its new one",
                    yours=f"({old}, {new})",
                    spec="(from, to)",
                    hint="The pair is (from, to).",
                )
                self.content[new] = list(self.content[old])
            self.write(name, tables[name], len(self.texts[name]) - 1)
        self.tables = tables
        for each, table in tables.items():
            text = self.texts[each]
            read = [self.content[table[place // self.size]][place % self.size] for place in range(len(text))]
            lost = next((place for place, (a, b) in enumerate(zip(read, text, strict=True)) if a != b), None)
            expect(
                lost is None,
                f"{of}: token {lost} of {each} is no longer what was written",
                hint="Another sequence has written into a block that both have, or that was free too early.",
            )


def expect_managed(sub, blocks, size, steps):
    """Run `steps`, whose appends carry the token, and read every text after each; return what the manager said."""
    plain = [step[:2] if step[0] == "append" else step for step in steps]
    found = listed(sub.call("driver:manage", blocks, size, plain, wall=WALL).result, len(steps), "the reply")
    memory = Memory(blocks, size)
    for number, (step, each) in enumerate(zip(steps, found, strict=True)):
        keys = {"answer", "tables", "free"}
        expect(type(each) is dict and keys <= each.keys(), "the driver's reply is damaged")
        of = f"step {number}, {step[0]} of {step[1]}"
        memory.follow(step, each, of=of)
    return found


@check(
    item="blocks",
    points=0.25,
    hint="A new block is due when the last one is full: when the length before is a multiple of the size.",
)
def tables_hold_every_token(sub):
    """Three sequences grow token by token, two end, another begins; every token is where the tables say."""
    size = sub.rng.integers(3, 6)
    steps = [["add", f"s{n}", random_tokens(sub, size * n + n + 1).tolist()] for n in range(3)]
    steps.insert(1, ["add", "full", random_tokens(sub, 2 * size).tolist()])
    for _ in range(3 * size):
        for name in ("s0", "full", "s2"):
            steps.append(["append", name, sub.rng.integers(0, 50)])
    steps += [["free", "full"], ["add", "new", random_tokens(sub, 4 * size).tolist()], ["free", "s1"]]
    steps += [["append", "new", sub.rng.integers(0, 50)] for _ in range(size)]
    expect_managed(sub, 40, size, steps)


@check(
    item="blocks",
    points=0.25,
    hint="Before a sequence writes into a block that another one has too, it gets a copy. The last one needs none.",
)
def forks_copy_before_they_write(sub):
    """A sequence is forked twice and all three go on: no text changes another's, and no block is copied in vain."""
    size = sub.rng.integers(3, 6)
    steps = [["add", "a", random_tokens(sub, size + 1).tolist()], ["fork", "a", "b"], ["fork", "b", "c"]]
    order = ["c", "a", "b", "b", "c", "a"] if sub.rng.integers(0, 2) else ["a", "b", "c", "a", "c", "b"]
    steps += [["append", name, token] for token, name in enumerate(order, 100)]
    found = expect_managed(sub, 20, size, steps)
    copies = [len(each["answer"]) for each in found[3:6]]
    expect_equal(
        copies,
        [1, 1, 0],
        of="copies when the three write first",
        hint="The third has the old block to itself by then.",
    )


# --- scheduler --------------------------------------------------------------------------------------------------


def expect_times(sub, cases):
    """Compare the times of `simulate` with the right ones; a case is a name, its arguments, these times, and words.

    The words say for (request, token) in which step the token comes out; where there are none, nothing is said.
    """
    found = sub.call("driver:schedules", [arguments for _, arguments, _, _ in cases], wall=WALL).result
    for (name, arguments, right, words), times in zip(
        cases, listed(found, len(cases), "the reply"), strict=True
    ):
        listed(times, len(right), f"{name}: the list of requests")
        for number, (mine, each) in enumerate(zip(times, right, strict=True)):
            listed(mine, len(each), f"{name}: the list of times of request {number}, output {len(each)},")
        differ = [
            (each[token], number, token)
            for number, each in enumerate(right)
            for token in range(len(each))
            if type(times[number][token]) is not int or times[number][token] != each[token]
        ]
        if differ:
            at, number, token = min(differ)
            request = arguments[0][number]
            said = ", ".join(f"{key} {value}" for key, value in request.items())
            raise Failed(
                f"{name}, cost {tuple(arguments[4])}: token {token} of request {number} ({said}) comes at another "
                f"time; it is the first that does{words.get((number, token), '')}",
                yours=str(times[number][token])[:80],
                expected=str(at),
            )


def told(sub, policy, places, budget, requests, steps):
    """Return a case out of a table of steps: prompt tokens, sequences that decode, and whose tokens come out.

    A request is (number of the step during which it arrives, prompt, output); -1: before the first, at 0. Costs are
    random, so that the times are new; the table is not.
    """
    cost = [sub.rng.integers(500, 900), sub.rng.integers(20, 60), sub.rng.integers(100, 200)]
    begins, now, words = [], 0, {}
    times = [[] for _ in requests]
    for step, (prompt, decoding, emitted) in enumerate(steps):
        begins.append(now)
        now += cost[0] + prompt * cost[1] + decoding * cost[2]
        for number in emitted:
            words[number, len(times[number])] = (
                f": at the end of step {step}, with {prompt} prompt tokens and {decoding} that decode"
            )
            times[number].append(now)
    asked = [
        {"arrival": 0 if step < 0 else begins[step] + 1, "prompt": prompt, "output": output}
        for step, prompt, output in requests
    ]
    return policy, (asked, policy, places, budget, cost), times, words


@check(
    item="scheduler",
    points=0.25,
    hint="A sequence that has ended keeps its place, and its cost, until the whole batch has ended.",
)
def static_batches_end_together(sub):
    """`static`: two places, three requests; the third waits until both of the first batch have ended."""
    requests = [(-1, 4, 3), (-1, 7, 1), (0, 5, 2)]
    steps = [(11, 0, [0, 1]), (0, 2, [0]), (0, 2, [0]), (5, 0, [2]), (0, 1, [2])]
    expect_times(sub, [told(sub, "static", 2, 8, requests, steps)])


@check(
    item="scheduler",
    points=0.25,
    hint="Where a prompt can be taken, the step computes prompts, of all that find a place, and nobody decodes. "
    "Whoever arrives during a step is seen when the next one begins.",
)
def prompts_come_first(sub):
    """`prefill_first`: three places, four requests, two of which arrive in one step, with more than the budget."""
    requests = [(-1, 4, 4), (0, 7, 2), (0, 6, 1), (2, 2, 2)]
    steps = [
        (4, 0, [0]),
        (13, 0, [1, 2]),  # 2 ends with its prompt
        (0, 2, [0, 1]),  # 1 has ended
        (2, 0, [3]),
        *[(0, 2, [0, 3]), (0, 1, [0])],
    ]
    expect_times(sub, [told(sub, "prefill_first", 3, 8, requests, steps)])


@check(
    item="scheduler",
    points=0.25,
    hint="Tokens of those that decode come off the budget first; what is left goes to prompts in their order. "
    "Whoever arrives during a step is seen when the next one begins.",
)
def chunks_fill_the_budget(sub):
    """`chunked`: a budget of 6 tokens, three places, four requests, a prompt in three pieces."""
    requests = [(-1, 3, 4), (0, 13, 2), (0, 3, 1), (3, 2, 2)]
    steps = [
        (3, 0, [0]),
        (5, 1, [0]),  # 5 of 13
        (5, 1, [0]),  # 10 of 13
        (5, 1, [0, 1]),  # the last 3, and 2 of the third request; the first has ended
        (3, 1, [1, 2, 3]),
        (0, 1, [3]),
    ]
    expect_times(sub, [told(sub, "chunked", 3, 6, requests, steps)])


def random_requests(sub, count, spread):
    """Return requests that arrive within `spread` microseconds."""
    return [
        {
            "arrival": sub.rng.integers(0, spread),
            "prompt": sub.rng.integers(1, 40),
            "output": sub.rng.integers(1, 12),
        }
        for _ in range(count)
    ]


METRICS = {
    "ttft": "From the arrival of each request to its first token; the mean over the requests.",
    "tpot": "A request of n tokens has n - 1 gaps. The mean over the requests that have gaps, not over tokens.",
    "ttft_p95": "Sorted, the smallest that at least 95 % of the requests do not exceed: of 20 requests the 19th.",
    "throughput": "All tokens, by the seconds from the first arrival to the last token.",
}
"""What is told where one of them is wrong."""


def right_metrics(requests, times):
    """Return what `metrics` should."""
    first = sorted(each[0] - request["arrival"] for request, each in zip(requests, times, strict=True))
    gaps = [(each[-1] - each[0]) / (len(each) - 1) for each in times if len(each) > 1]
    begin, end = min(request["arrival"] for request in requests), max(each[-1] for each in times)
    return {
        "ttft": sum(first) / len(first),
        "tpot": sum(gaps) / max(1, len(gaps)),
        "ttft_p95": next(one for one in first if sum(other <= one for other in first) >= 0.95 * len(first)),
        "throughput": sum(len(each) for each in times) / (end - begin) * 1e6,
    }


@check(item="scheduler", points=0.25, hint="The docstring defines each of the four.")
def metrics_are_what_users_notice(sub):
    """TTFT, TPOT, the 95 % quantile and throughput: of 20 requests, of 21 to 39, and of 5 with one token each."""
    cases = []
    for count in (20, sub.rng.integers(21, 40), 5):
        requests = random_requests(sub, count, 100_000)
        requests[3]["output"] = 1
        requests[4]["arrival"] = -1_000_000  # the first arrival is not at 0
        times = []
        for request in requests:
            request["output"] = 1 if count == 5 else request["output"]
            gaps = sub.rng.integers(1000, 90_000, (request["output"],)).cumsum(0)
            times.append((request["arrival"] + gaps).tolist())
        cases.append([requests, times])
    found = listed(sub.call("driver:measured", cases, wall=WALL).result, len(cases), "the reply")
    for mine, case in zip(found, cases, strict=True):
        right = right_metrics(*case)
        expect(
            type(mine) is dict and right.keys() <= mine.keys(),
            "metrics leaves out a name",
            spec=", ".join(right),
        )
        for name, value in right.items():
            number = mine[name]
            expect(type(number) in (int, float), f"{name} is no number", yours=type(number).__name__)
            expect_at_most(abs(number), 1e300, of=name)  # an integer may be beyond all floats
            expect_close(
                torch.tensor(float(number), dtype=torch.float64),
                torch.tensor(float(value), dtype=torch.float64),
                rtol=1e-9,
                atol=1e-9,
                why="float64 sums of 40 terms",
                of=f"{name} of {len(case[0])} requests",
                hint=METRICS[name],
            )


# --- sampling ---------------------------------------------------------------------------------------------------


def expect_chances(counts, chances, *, of, hint=None):
    """Fail unless tokens counted as `counts` may well have been drawn with `chances`; both are lists.

    Pearson's chi-square test; every word that can come is expected ten times and more.
    """
    outside = sum(count for count, chance in zip(counts, chances, strict=True) if chance == 0)
    expect_equal(outside, 0, of=f"{of}: tokens that cannot come", hint=hint)
    total = sum(counts)
    pairs = [(count, total * chance) for count, chance in zip(counts, chances, strict=True) if chance > 0]
    statistic = sum((count - right) ** 2 / right for count, right in pairs)
    bound = float(chi2.isf(BY_CHANCE, max(1, len(pairs) - 1)))
    expect_at_most(
        statistic, bound, of=f"{of}: chi-square of {total} tokens in {len(pairs)} words", hint=hint
    )


def counted(tokens, words, *, of):
    """Return how often each word stands in `tokens`, after a look at their form."""
    expect(
        type(tokens) is torch.Tensor and tokens.dtype is torch.int64 and tokens.dim() == 1,
        f"{of}: no int64 tensor [n]",
        yours=f"{getattr(tokens, 'dtype', type(tokens).__name__)}, {tuple(getattr(tokens, 'shape', ()))}",
    )
    times = Counter(tokens.tolist())
    expect(all(0 <= word < words for word in times), f"{of}: a token is no word", yours=str(list(times)[:5]))
    return [times[word] for word in range(words)]


def expect_draws(sub, cases, times=20_000, hints=None):
    """Draw `times` tokens for each case (name, logits [words], options, chances) and test their distribution.

    `hints` has one for a case by its name.
    """
    for name, logits, options, chances in cases:
        hint = (hints or {}).get(name)
        case = [logits[None], times, options, sub.rng.integers(0, 1 << 40)]
        (tokens,) = listed(told_of(sub, name, "driver:draws", [case], hint=hint), 1, "the reply")
        counts = counted(tokens, len(logits), of=name)
        expect_equal(sum(counts), times, of=f"{name}: number of tokens")
        expect_chances(counts, chances, of=name, hint=hint)


def permuted(sub, chances):
    """Return logits [words] of these chances in a random order, shifted, and the chances in this order."""
    order = sub.rng.permutation(len(chances))
    chances = torch.tensor(chances, dtype=torch.float64)[order]
    return chances.log() + sub.rng.integers(-5, 6), chances


@check(
    item="sampling",
    points=0.25,
    hint="Logits are divided by the temperature, before the softmax. At 0 there is nothing to divide by.",
)
def temperature_follows_the_softmax(sub):
    """20,000 tokens each at temperatures 1, 0.5 and 2 (chi-square), and the most probable word at 0."""
    logits = sub.rng.uniform(
        -1, 1, (12,), dtype=torch.float64
    )  # so that every word comes thirty times and more
    cases = [
        (f"temperature {each}", logits, {"temperature": each}, (logits / each).softmax(-1).tolist())
        for each in (1.0, 0.5, 2.0)
    ]
    expect_draws(sub, cases)
    rows = sub.rng.normal((50, 12), dtype=torch.float64)
    options = {"temperature": 0, "top_p": 0.5}
    found = told_of(sub, "temperature 0", "driver:draws", [[rows, 1, options, 1]])
    (tokens,) = listed(found, 1, "the reply")
    expect_equal(tokens, rows.argmax(-1), of="temperature 0: tokens of 50 rows")


@check(
    item="sampling",
    points=0.25,
    hint="What is left is made to sum to one.",
)
def top_k_and_top_p_keep_the_right_words(sub):
    """Five words of 0.4, 0.28, 0.17, 0.1 and 0.05 in random order: top_k of 3, top_p of 0.6, and of 0.1."""
    cases = []
    for name, options, kept in (
        ("top_k of 3", {"top_k": 3}, 3),
        ("top_p of 0.6", {"top_p": 0.6}, 2),
        ("top_p of 0.1", {"top_p": 0.1}, 1),
    ):
        logits, chances = permuted(sub, [0.4, 0.28, 0.17, 0.1, 0.05])
        stays = chances >= chances.sort(descending=True).values[kept - 1]
        left = torch.where(stays, chances, 0)
        cases.append((name, logits, options, (left / left.sum()).tolist()))
    hints = {
        "top_k of 3": "top_k keeps the k words whose logits are the largest, and their own numbers are returned.",
        "top_p of 0.6": "top_p keeps the word with which the sum reaches p, too: 0.4, then 0.28.",
        "top_p of 0.1": "The most probable word always stays: 0.4 alone exceeds p.",
    }
    expect_draws(sub, cases, hints=hints)


# --- export -----------------------------------------------------------------------------------------------------


def expect_exported(sub, heads, shapes, **sizes):
    """Export a model, run the file in a worker without the student's code, and compare with `forward`."""
    weights = {name: value.float() for name, value in random_weights(sub, **sizes).items()}
    file = sub.call("driver:exported", weights, heads, wall=EXPORT_WALL).result
    expect(type(file) is bytes, "to_onnx returned no bytes", yours=type(file).__name__)
    batches = [random_tokens(sub, *shape) for shape in shapes]
    try:
        found = sub.apart("part2_onnx:run", file, batches, wall=WALL).result
    except StudentError as error:
        if not error.why.startswith("raised "):
            raise
        raise Failed(f"ONNX Runtime refuses the file, or an input: {error.why}") from None
    for logits, tokens in zip(listed(found, len(batches), "the reply"), batches, strict=True):
        expect_close(
            logits,
            forward(weights, tokens, heads),
            atol=1e-4,
            why="float32 sums of some hundred terms; a wrong position changes logits by 0.01 and more",
            of=f"logits of {tokens.shape[0]} x {tokens.shape[1]} tokens",
        )


@check(
    item="export",
    points=0.25,
    wall=150,
    hint="A number that was read off the example stands in the file for ever: name both sizes in dynamic_shapes.",
)
def the_file_answers_like_the_model(sub):
    """The file, run without your code, gives the logits of `forward` for batches of several sizes and lengths."""
    expect_exported(sub, 4, [(3, 7), (1, sub.rng.integers(10, 30)), (sub.rng.integers(4, 9), 2), (2, 64)])


# --- speculative ------------------------------------------------------------------------------------------------


def random_chances(sub, rows, words):
    """Return chances [rows, words], float64, each at least 0.02."""
    chances = sub.rng.normal((rows, words), dtype=torch.float64).softmax(-1)
    return 0.02 + (1 - 0.02 * words) * chances


def verified(sub, draft_chances, target_chances, times, wall=WALL):
    """Return lists of `verify`, each row of one to k + 1 tokens, then -1, and the drafts [times, k] they are of."""
    k, seed = len(draft_chances), sub.rng.integers(0, 1 << 40)
    reply = sub.call("driver:verified", draft_chances, target_chances, times, seed, wall=wall).result
    damaged = "the driver's reply is damaged"
    expect(type(reply) is tuple and len(reply) == 2, damaged)
    for tensor, columns in zip(reply, (k + 1, k), strict=True):
        whole = type(tensor) is torch.Tensor and tensor.shape == (times, columns)
        expect(whole and tensor.dtype is torch.int64, damaged)
    found, drafts = reply
    expect(bool((found[:, 0] >= 0).all()), "verify returned no token", spec="one at least")
    ended = (found < 0).int()
    expect(bool((ended.diff(dim=1) >= 0).all()), "a list has a token below 0")
    return found, drafts


@check(
    item="speculative",
    points=0.5,
    hint="A token stays with chance target / draft. Otherwise the next one comes from what the target has in excess.",
)
def the_first_token_is_the_targets(sub):
    """The first token of 5,000 lists is distributed as the target's first row, and often the draft's (chi-square)."""
    for case in range(2):
        offered, target = random_chances(sub, 3, 6), random_chances(sub, 4, 6)
        found, drafts = verified(sub, offered, target, 5000)
        counts = counted(found[:, 0], 6, of="first token")
        expect_chances(counts, target[0].tolist(), of=f"first token, draft {case + 1}")
        # What is drawn after a refusal is never the token refused: the target has none of it in excess.
        stays = float(torch.minimum(offered[0], target[0]).sum())
        same = int((found[:, 0] == drafts[:, 0]).sum())
        of = f"first tokens that are the draft's, and others, draft {case + 1}"
        expect_chances([same, 5000 - same], [stays, 1 - stays], of=of)


# --- add_norm ---------------------------------------------------------------------------------------------------

NORM_WALL = 60  # an honest one takes some seconds in the interpreter
ABOUT_TOTAL = "total is x + residual, each row at i * columns; x and residual stay as they are."
INTERPRETED = (
    "without a GPU Triton's interpreter runs in the student's process, which could compute without the kernel"
)


def expect_normalised(sub, rows, columns, size, eps, names=("total", "out")):
    """Launch the kernel on `rows` of `columns` elements of this size, and compare those tensors that it writes."""
    x, residual = (sub.rng.normal((rows, columns), std=size, dtype=torch.float16) for _ in range(2))
    weight, out = sub.rng.uniform(0.5, 1.5, (columns,)), Out((rows, columns), "float16")
    block = 1 << (columns - 1).bit_length()
    launch = Launch([x, residual, weight, out, out, columns, eps], [rows], {"BLOCK": block})
    written = sub.launch("add_norm:add_norm", launch)
    if written is None:
        return
    total = x.double() + residual.double()
    root = (total.square().mean(1, keepdim=True) + eps).sqrt()
    both = {"total": (written[0], total), "out": (written[1], total / root * weight)}
    for name in names:
        found, right = both[name]
        silent = int((found.view(torch.int16) == -1).sum())  # as it was before the launch
        expect(
            silent == 0,
            f"{silent} of {found.numel()} elements of {name} were not written",
            hint="Program i does row i, all of it, and stores two rows.",
        )
        close = {"atol": 1e-6, "rtol": 2e-3, "why": "float16 has 11 bits", "of": name}
        expect_close(found.double(), right, **close, hint=ABOUT_TOTAL if name == "total" else None)


@check(
    item="add_norm",
    points=0.5,
    wall=NORM_WALL,
    hint="Is the mean over `columns`, and what lies behind the row's end 0 in it? Then: divided by the root, times "
    "weight; no mean is subtracted.",
    waiting="A loop of the kernel does not end, or has very many turns.",
    forgeable=INTERPRETED,
)
def rows_are_added_and_normalised(sub):
    """Three to six rows, of 90 to 120 and of 520 to 1,000 elements around 1."""
    for low, high in ((90, 120), (520, 1000)):
        expect_normalised(sub, sub.rng.integers(3, 7), sub.rng.integers(low, high), 1.0, 1e-5)
