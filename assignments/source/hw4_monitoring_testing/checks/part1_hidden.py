"""Hidden checks of part 1: the other bugs, and what a suite kills. Never released."""

import math
import re
import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch.nn.functional as F

from grader.checks import Failed, check, expect, expect_at_least, expect_close, load_mutants, tell

SOURCE = Path(__file__).parents[1]
WALL = 600  # seconds for some hundred runs of a suite
MEANS_NOTHING = {
    "zeros": "what a test returns means nothing",
    "constant": "what a test returns means nothing",
}


@cache
def public():
    """Return the names of the public file; at import its checks would be declared a second time, as hidden ones."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part1_public.py"))))


# --- fixes ------------------------------------------------------------------------------------------------------


@check(item="fixes", points=0.1875, wall=30, hint="A text that stands there three times is one text.")
def a_text_lies_on_one_side(sub):
    """Copies of a text are never on both sides of the split, and the right number of texts is drawn."""
    texts = [f"text {number}" for number in sub.rng.permutation(40)[:20].tolist()]
    documents = [texts[number % 20] for number in sub.rng.permutation(60).tolist()]
    share = 0.05 * sub.rng.integers(5, 15)
    found = sub.call("corpus:split", documents, share, sub.rng.integers(0, 1000)).result
    expect(type(found) in (tuple, list) and len(found) == 2, "split returns no pair")
    train, valid = found
    plain = all(type(side) is list and all(type(text) is str for text in side) for side in found)
    expect(plain, "split returns something else than two lists of texts")
    expect(sorted(train + valid) == sorted(documents), "the two sides are not all of the documents")
    both = set(train) & set(valid)
    expect(not both, f"{len(both)} of 20 texts lie on both sides", spec="0")
    expect(
        len(set(valid)) == round(share * 20),
        f"{len(set(valid))} of 20 texts are for validation",
        spec=f"{round(share * 20)}, for a share of {share:.2f}",
    )


@check(item="fixes", points=0.1875, wall=30, hint="What does a cosine do behind its minimum?")
def the_rate_stays_at_the_floor(sub):
    """The learning rate follows its formula, also in the steps behind the last one that was planned."""
    peak, warmup = float(sub.rng.uniform(0.5, 1, (1,))), sub.rng.integers(2, 6)
    config = {"peak": peak, "floor": peak / 20, "warmup": warmup, "total": warmup + sub.rng.integers(8, 12)}
    span = config["total"] - warmup
    for step in (0, warmup - 1, warmup, warmup + 3, config["total"], config["total"] + span // 2):
        way = min(1.0, (step - warmup) / span)
        right = config["floor"] + (peak - config["floor"]) * (1 + math.cos(math.pi * way)) / 2
        right = peak * (step + 1) / warmup if step < warmup else right
        found = sub.call("optimizer:learning_rate", step, config).result
        expect_close(found, right, atol=1e-9, why="float64", of=f"rate of step {step} of {config['total']}")


@check(item="fixes", points=0.1875, wall=30, hint="Two targets and twenty: whose mean has how much say?")
def micro_batches_are_one_batch(sub):
    """Loss and gradients of micro-batches with few and many targets are those of one batch of all of them."""
    config, weights = public().random_config(sub)
    lengths = [sub.rng.integers(3, 5), sub.rng.integers(15, 20), sub.rng.integers(8, 10)]
    sequences = public().random_sequences(sub, lengths)
    batches = [(sequence[None, :-1], sequence[None, 1:]) for sequence in sequences]
    counts = [length - 1 for length in lengths]
    reply = sub.call("driver:accumulated", weights, batches, config).result
    sums = [
        float(F.cross_entropy(logits[0].double(), targets[0], reduction="sum"))
        for logits, (_, targets) in zip(reply["logits"], batches, strict=True)
    ]
    value, gradients = reply["all"]
    expect_close(
        value, sum(sums) / sum(counts), atol=1e-3, why="float32; a mean of means is off by more", of="loss"
    )
    for name in weights:
        right = sum(count * alone[1][name] for count, alone in zip(counts, reply["alone"], strict=True))
        right = right / sum(counts)
        scale = float(right.abs().max())
        expect_close(gradients[name], right, atol=1e-3 * scale, why="float32", of=f"gradient of {name}")


@check(item="fixes", points=0.1875, wall=30, hint="After a restart, which sequences come next? What tells?")
def training_goes_on_where_it_stopped(sub):
    """Training in three pieces, with checkpoints between, has the losses of training in one piece."""
    config, _ = public().random_config(sub, dropout=0.1)
    sequences = public().random_sequences(sub, [sub.rng.integers(4, 20) for _ in range(9)])
    pieces = [3, 2, sub.rng.integers(4, 7)]
    reply = sub.call("driver:stopped", config, sub.rng.integers(0, 1000), sequences, pieces).result
    expect_close(reply["whole"][0], math.log(258), atol=0.3, why="new weights know nothing", of="first loss")
    for step, (whole, piece) in enumerate(zip(reply["whole"], reply["pieces"], strict=True)):
        expect_close(
            piece, whole, atol=1e-6, why="the same operations", of=f"loss of step {step}, stopped at 3 and 5"
        )


# --- suite ------------------------------------------------------------------------------------------------------


def texts_of(paths):
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items()}


@cache
def right():
    """Return the reference and two other whole implementations, by what they differ in."""
    reference = texts_of({name: SOURCE / name for name in public().FILES})
    # Without what students get in its place, which would be in the way of edits.
    given = r"^ *### GIVEN\n(?: *#(?!##).*\n)+"
    found = {"the reference": {name: re.sub(given, "", text, flags=re.M) for name, text in reference.items()}}
    others = {}
    for path in sorted((SOURCE / "right").glob("*.py")):
        head = dict(re.findall(r"^# ([a-z]+): (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
        others.setdefault(head["replaces"], []).append((path, head.get("differs", "")))
    for number in range(2):
        paths = {name: others[name][number] for name in public().FILES}
        differs = dict.fromkeys(differs for _, differs in paths.values())
        found["; ".join(differs)] = texts_of({name: path for name, (path, _) in paths.items()})
    return found


@cache
def mutants():
    return load_mutants(Path(__file__).with_name("part1_mutants_hidden.toml"), right()["the reference"])


def kills(sub):
    """Return what the suite kills, which is found out once for all checks, as it takes long."""

    def run():
        suite = sub.suite("test_training.py", public().NAMES, wall=public().ONE_RUN)
        return suite.kills(right(), mutants())

    try:
        return sub.once("kills", run)
    except Failed as error:
        tell(error.why)
        raise


def expect_share(sub, share, *, hard=False):
    """Fail unless the suite kills this share of the mutants of a kind; tell the student what survives."""
    found = kills(sub)
    kind = "hard mutants" if hard else "mutants"
    killed = found.share(hard)
    tell(
        f"Kills {killed:.0%} of the {kind}; {share:.0%} are asked for. Survivors are about: {found.about(hard)}."
    )
    sub.note("survivors", ", ".join(one.name for one in found.survivors) or "none")
    sub.note("one run of the suite, at most", round(found.longest, 2), "s")
    expect_at_least(killed, share, of=f"share of the {kind} that the suite kills")


@check(item="suite", points=1.1, wall=WALL, accepts=MEANS_NOTHING)
def the_suite_kills_half(sub):
    """The suite passes on three right implementations and kills half of the mutants."""
    expect_share(sub, 0.5)


@check(item="suite", points=0.85, wall=WALL, accepts=MEANS_NOTHING)
def the_suite_kills_seven_tenths(sub):
    """The suite passes on three right implementations and kills 70 % of the mutants."""
    expect_share(sub, 0.7)


@check(item="suite", points=0.85, wall=WALL, accepts=MEANS_NOTHING)
def the_suite_kills_nearly_all(sub):
    """The suite passes on three right implementations and kills 85 % of the mutants."""
    expect_share(sub, 0.85)


@check(item="hardest", points=0.9, wall=WALL, accepts=MEANS_NOTHING)
def the_suite_kills_hard_ones(sub):
    """The suite passes on three right implementations and kills 70 % of the hard mutants."""
    expect_share(sub, 0.7, hard=True)
