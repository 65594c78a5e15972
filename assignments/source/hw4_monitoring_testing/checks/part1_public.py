"""Public checks of part 1. The hidden ones call the same procedures with other inputs, and with other mutants."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F

from grader.checks import Failed, check, expect, expect_close, expect_equal, load_mutants
from grader.course import CourseError

HERE = Path(__file__).parent
FILES = ("corpus.py", "model.py", "optimizer.py", "training.py")
NAMES = {
    "corpus": [
        "PAD",
        "END",
        "FIRST",
        "WORDS",
        "IGNORED",
        "encode",
        "decode",
        "split",
        "order",
        "shard",
        "collate",
    ],
    "model": ["IGNORED", "initial", "forward", "loss"],
    "optimizer": ["learning_rate", "clip", "adamw"],
    "training": ["start", "gradients_of", "train_step", "train", "save", "load", "evaluate"],
}
"""What a suite may import."""
WALL = 30  # seconds for one run of a bug's check, only to end what hangs
SUITE_WALL = 300  # for some hundred runs of a suite
ONE_RUN = 6  # seconds for one run of a suite on a right implementation


# --- fixes ------------------------------------------------------------------------------------------------------


def random_sequences(sub, lengths):
    """Return sequences of bytes as tokens, of these lengths, the last token END."""
    return [torch.cat([sub.rng.integers(2, 258, (length - 1,)), torch.tensor([1])]) for length in lengths]


def random_config(sub, **settings):
    """Return settings for all modules, and weights that are far from zero."""
    heads = sub.rng.integers(2, 4)
    config = {"words": 258, "width": 8 * heads, "heads": heads, "layers": 2, "most": 24, "dropout": 0.0}
    config |= {"peak": 0.01, "floor": 0.001, "warmup": 2, "total": 30, "beta1": 0.9, "beta2": 0.99}
    config |= {"epsilon": 1e-8, "decay": 0.1, "batch": 2, "accumulate": 1, "clip": 1.0, "average": 0.9}
    config |= settings
    width, shapes = config["width"], {"token": (258, config["width"]), "position": (24, config["width"])}
    for layer in range(2):
        shapes |= {
            f"{layer}.norm1": (width,),
            f"{layer}.qkv": (width, 3 * width),
            f"{layer}.out": (width, width),
        }
        shapes |= {
            f"{layer}.norm2": (width,),
            f"{layer}.up": (width, 4 * width),
            f"{layer}.down": (4 * width, width),
        }
    weights = {name: sub.rng.normal(shape) / 3 for name, shape in (shapes | {"norm": (width,)}).items()}
    return config, weights


def forward(weights, tokens, config):
    """Return the logits that the docstring of model.py describes."""
    length = tokens.shape[1]
    x = weights["token"][tokens] + weights["position"][:length]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    for layer in range(config["layers"]):
        mixed = F.layer_norm(x, x.shape[-1:]) * weights[f"{layer}.norm1"] @ weights[f"{layer}.qkv"]
        query, key, value = mixed.unflatten(-1, (3, config["heads"], -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        seen = scores.masked_fill(later, -math.inf).softmax(-1) @ value
        x = x + seen.transpose(1, 2).flatten(2) @ weights[f"{layer}.out"]
        inner = (F.layer_norm(x, x.shape[-1:]) * weights[f"{layer}.norm2"] @ weights[f"{layer}.up"]).relu()
        x = x + inner @ weights[f"{layer}.down"]
    return F.layer_norm(x, x.shape[-1:]) * weights["norm"] @ weights["token"].T


@check(item="fixes", points=0.1875, wall=WALL, hint="Look at what stands as target behind the end of a text.")
def collate_learns_nothing_from_padding(sub):
    """Of sequences of different lengths, `collate` gives tokens and targets as its docstring says."""
    sequences = random_sequences(sub, [9, sub.rng.integers(2, 6), 14, 5])
    most = sub.rng.integers(10, 13)
    found = sub.call("corpus:collate", sequences, most).result
    expect(type(found) is tuple and len(found) == 2, "collate returns no pair")
    for place, (name, filler) in enumerate((("tokens", 0), ("targets", -100))):
        rows = [[*one[place : most + place].tolist()][: len(one) - 1] for one in sequences]
        expected = torch.tensor([row + [filler] * (most - len(row)) for row in rows])
        expect_equal(found[place], expected, of=name)


@check(
    item="fixes",
    points=0.1875,
    wall=WALL,
    hint="Which positions may a position attend to? Write a mask of 3 x 3 down.",
)
def logits_depend_on_no_later_token(sub):
    """`forward` gives the logits of its formula, and those at a position depend on no later token."""
    config, weights = random_config(sub)
    tokens = sub.rng.integers(0, 258, (2, 12))
    found = sub.call("model:forward", weights, tokens, config).result
    expect_close(found, forward(weights, tokens, config), atol=1e-3, why="float32 sums of some 100 terms")


@check(item="fixes", points=0.1875, wall=WALL, hint="One factor for all, or one for each?")
def clip_keeps_the_direction(sub):
    """`clip` scales all gradients by one factor where their common norm is too large, and returns that norm."""
    shapes = [(3, 5), (7,), (2, 2)]
    gradients = {
        f"weight {number}": sub.rng.normal(shape) * 10**number for number, shape in enumerate(shapes)
    }
    norm = math.sqrt(sum(float(one.double().square().sum()) for one in gradients.values()))
    for most in (norm / 3, norm * 2):
        found = sub.call("optimizer:clip", gradients, most).result
        expect(type(found) is tuple and len(found) == 2, "clip returns no pair")
        expect(type(found[0]) is dict and found[0].keys() == gradients.keys(), "clip returns other gradients")
        expect_close(found[1], norm, atol=1e-4 * norm, why="float32 sums of 26 squares", of="norm")
        for name, gradient in gradients.items():
            right = gradient * min(1, most / norm)
            expect_close(found[0][name], right, atol=1e-4 * norm, why="float32", of=name)


@check(item="fixes", points=0.1875, wall=WALL, hint="Do short and long batches have the same say? Must they?")
def evaluation_weighs_every_target_alike(sub):
    """`evaluate` returns the mean over all targets, whatever the batches, and e to its power."""
    config, weights = random_config(sub)
    lengths = [sub.rng.integers(15, 20), sub.rng.integers(3, 6), sub.rng.integers(8, 12)]
    for _ in range(10):
        # Within a batch all are of one length, so that there is no padding: what that does is another check's matter.
        sequences = random_sequences(sub, [lengths[0]] * 2 + [lengths[1]] * 2 + [lengths[2]])
        reply = sub.call("driver:evaluated", weights, sequences, config).result
        sums = [
            float(F.cross_entropy(logits.double(), sequence[1:], reduction="sum"))
            for logits, sequence in zip(reply["logits"], sequences, strict=True)
        ]
        counts = [len(sequence) - 1 for sequence in sequences]
        mean = sum(sums) / sum(counts)
        batches = [sum(sums[begin : begin + 2]) / sum(counts[begin : begin + 2]) for begin in (0, 2, 4)]
        if abs(sum(batches) / 3 - mean) > 0.05:  # else chance has made both means one
            break
    found = reply["found"]
    expect(type(found) is dict and {"loss", "perplexity"} <= found.keys(), "evaluate returns other names")
    expect_close(
        found["loss"],
        mean,
        atol=1e-3,
        why="float32; the mean over batches is off by 0.05 and more",
        of="loss",
    )
    expect_close(
        found["perplexity"], math.exp(mean), atol=2e-3 * math.exp(mean), why="float32", of="perplexity"
    )


# --- suite ------------------------------------------------------------------------------------------------------


def own_package(sub):
    """Return the student's own files."""
    return {name: sub.source(name) for name in FILES}


def published(sub, own):
    """Return the published mutants of the student's own package."""
    try:
        return load_mutants(HERE / "part1_mutants.toml", own)
    except CourseError as error:
        raise Failed(
            f"a published mutant cannot be made of your package: {str(error).partition(': ')[2].partition(';')[0]}",
            expected="the functions of the package under their names, in their files",
        ) from None


OWN_FAILS = (
    "the suite fails on your own package: either this test asks for more than the statement, or the package still "
    "has a mistake; its docstring decides"
)


def expect_killed(sub, hard):
    """Fail unless the suite passes on the student's own package and kills the published mutants of this kind."""
    own = own_package(sub)
    mutants = [one for one in published(sub, own) if one.hard == hard]
    found = sub.suite("test_training.py", NAMES, wall=ONE_RUN).kills({"": own}, mutants, fails_on=OWN_FAILS)
    sub.note("mutants killed", f"{len(found.killed)} of {len(mutants)}")
    sub.note("one run of the suite", round(found.longest, 2), "s")
    expect(
        not found.survivors,
        "a published mutant survives: " + "; ".join(f"{one.name} ({one.mistake})" for one in found.survivors),
        yours=f"{len(found.killed)} killed",
        spec=f"{len(mutants)} killed",
    )


MEANS_NOTHING = {
    "zeros": "what a test returns means nothing",
    "constant": "what a test returns means nothing",
}
OWN_FILES = (
    "the mutants are the student's own files, which can look whether they were changed, and then break"
)


@check(
    item="suite",
    points=0.2,
    wall=SUITE_WALL,
    accepts=MEANS_NOTHING,
    forgeable=OWN_FILES,
    hint="checks/part1_mutants.toml shows the mutants. Ask of each: which call would give another answer?",
)
def the_suite_kills_what_is_published(sub):
    """The suite passes on your own package, three times, and fails on each of four published mutants of it."""
    expect_killed(sub, hard=False)


@check(
    item="hardest",
    points=0.1,
    wall=SUITE_WALL,
    accepts=MEANS_NOTHING,
    forgeable=OWN_FILES,
    hint="With an epsilon as large as the root, it matters where it is added.",
)
def the_suite_kills_a_hard_one(sub):
    """The suite passes on your own package, three times, and fails on the published hard mutant."""
    expect_killed(sub, hard=True)
