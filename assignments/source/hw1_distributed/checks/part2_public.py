"""Public checks of part 2. The hidden ones call the same procedures with other inputs."""

import torch
import torch.nn.functional as F

from grader.checks import (
    PerRank,
    check,
    expect,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_lines,
    expect_related,
    expect_traffic,
)

# Seconds for one run, only to end what hangs; longer where the machine is slow. An honest one takes under one second,
# a few on a busy machine.
WALL = 20


def replies(run, *keys):
    """Return what the driver sent back from each rank, after a look at its form."""
    for reply in run.results:
        expect(type(reply) is dict and all(key in reply for key in keys), "the driver's reply is damaged")
    return run.results


# --- sequential_print ---------------------------------------------------------------------------------------


def expected_lines(world, num_iter):
    """Return the lines that `run_sequential` shows."""
    once = [f"Process {rank}" for rank in range(world)]
    return (["---", *once] * num_iter)[1:]


def print_with_delays(sub, world, num_iter, marks=None):
    """Run `run_sequential` with one rank that starts 0.6 s late and one that takes 30 ms to print a line."""
    late, slow = sub.rng.integers(0, world), sub.rng.integers(0, world)
    paces = [
        {
            "start": 0.6 if rank == late and world > 1 else 0.0,
            "line": 0.03 if rank == slow else 0.0,
            "mark": marks[rank] if marks else "",
        }
        for rank in range(world)
    ]
    return sub.ranks("driver:print_in_turn", world=world, per_rank=paces, args=(num_iter,), wall=WALL)


@check(
    item="sequential_print",
    points=0.5,
    hint="Let a message, not a pause, tell the next rank that it may print. No --- after the last iteration.",
    waiting="Every message that is awaited must be sent by somebody, also in the first and the last iteration.",
)
def prints_in_rank_order(sub):
    """Four ranks print in ascending order, three times, also where a rank is late or prints slowly."""
    run = print_with_delays(sub, world=4, num_iter=3)
    expect_lines(run.stdout, expected_lines(4, 3), of="the shared standard output")


# --- ring ---------------------------------------------------------------------------------------------------

FLOAT32_MEAN = "float32 mean of a few numbers near 1: their rounding adds up to less than 1e-6"


def expect_mean(sub, cases, *, atol, why, or_multiple=False):
    """Run the ring on each tensor [world, ...] of `cases`, in turn, in one process group.

    With `or_multiple` the sum passes too, and what is divided twice: `ring_returns_the_mean` has charged that.
    """
    world = len(cases[0])
    inputs = [[case[rank] for case in cases] for rank in range(world)]
    run = sub.ranks("driver:ring", world=world, per_rank=inputs, wall=WALL)
    for number, case in enumerate(cases):
        results = PerRank(reply[number] if type(reply) is list else None for reply in run.results)
        of = f"tensor of shape {tuple(case.shape[1:])}"
        expected = nearest_multiple(results[0], case.mean(0), world) if or_multiple else case.mean(0)
        expect_close(results, expected, atol=atol * max(1, world if or_multiple else 1), why=why, of=of)


def nearest_multiple(found, right, world):
    """Return that one of `right`, `world` times and 1/`world` of it which `found` is nearest to."""
    if type(found) is not torch.Tensor or found.shape != right.shape:
        return right
    return min((right, right * world, right / world), key=lambda one: float((found - one).abs().sum()))


@check(
    item="ring",
    points=0.5,
    hint="One factor everywhere: a division is missing, or there is one too many. Else follow one chunk through the "
    "table in the statement: the rank that completes it is the first to send it on.",
    waiting="If every rank sends before it receives, all wait: let isend and recv overlap.",
)
def ring_returns_the_mean(sub):
    """On every rank, the tensor holds the mean of all ranks' tensors after the call (4 ranks, 1000 numbers)."""
    expect_mean(sub, [sub.rng.normal((4, 1000))], atol=1e-5, why=FLOAT32_MEAN)


@check(
    item="ring",
    points=0.75,
    hint="Send chunks of length/size, 2 (size - 1) of them; never a whole tensor.",
    waiting="With large chunks dist.send blocks until the other side receives: let isend and recv overlap.",
)
def ring_moves_the_least(sub):
    """4 ranks together move at most 1.1 times 2 (n-1) = 6 tensor sizes over the network (1,000,003 numbers)."""
    tensors = sub.rng.normal((4, 1_000_003))
    run = sub.ranks("driver:ring", world=4, per_rank=[[tensor] for tensor in tensors], wall=WALL)
    # 6.01 sizes with TCP's headers; exchanging whole tensors costs 12, doubling (butterfly) costs 8. Fewer bytes
    # than the 6 of theory would mean that the numbers went another way than over the network.
    expect_traffic(
        run.network_bytes,
        tensors[0].nbytes,
        of="tensor sizes over the network",
        at_most=1.1 * 6,
        at_least=0.98 * 6,
    )
    after = PerRank(reply[0] if type(reply) is list and reply else None for reply in run.results)
    expect_related(after, tensors.mean(0), of="tensor", hint="")


@check(
    item="ring",
    points=0.5,
    hint="A rank talks to two neighbours only; no rank collects for the others, and no collective helps out.",
    forgeable="that no collective is called, only the process itself can tell; the bytes that each rank sends are "
    "counted outside",
)
def ring_spreads_the_load(sub):
    """No collective is called, and each of 4 ranks sends at most 1.1 times a quarter of what all send together."""
    tensors = sub.rng.normal((4, 250_000))
    run = sub.ranks("driver:ring_watched", world=4, per_rank=list(tensors), wall=WALL)
    answers = replies(run, "tensor", "collectives")
    after = PerRank(answer["tensor"] for answer in answers)
    expect_related(after, tensors.mean(0), of="tensor", hint="")
    called = sorted({name for answer in answers for name in answer["collectives"]})
    expect(not called, "a collective is called", yours=", ".join(called), spec="send and recv only")
    expect_traffic(
        run.network_bytes,
        tensors[0].nbytes,
        of="tensor sizes over the network",
        at_most=float("inf"),
        at_least=0.98 * 6,
    )
    for rank in range(4):
        # Of all, not of the 6 sizes of theory: that all ranks send too much is another check's matter.
        sent = None if run.sent is None else sum(run.sent[rank])
        expect_traffic(
            sent, (run.network_bytes or 1) / 4, of=f"quarters of all bytes, sent by rank {rank}", at_most=1.1
        )


# --- syncbn -------------------------------------------------------------------------------------------------

FLOAT32_NORM = "float32 sums over some hundred numbers near 1: errors stay below 1e-5"


def split_rows(value, sizes):
    """Return copies of the rows of `value` as consecutive blocks of the given sizes, one per rank."""
    return [block.clone() for block in value.split(sizes)]


def norm_cases(batches, sizes, **extra):
    """Return per-rank cases with a share of each global batch (input, cotangent)."""
    inputs = [split_rows(value, sizes) for value, _ in batches]
    cotangents = [split_rows(value, sizes) for _, value in batches]
    return [
        {
            "inputs": [shares[rank] for shares in inputs],
            "cotangents": [shares[rank] for shares in cotangents],
            **{name: shares[rank] for name, shares in extra.items()},
        }
        for rank in range(len(sizes))
    ]


def global_norm(value, cotangent, eps=1e-5):
    """Return output and input gradient of batch normalisation on the global batch, computed in float64."""
    wide = value.double().requires_grad_()
    output = F.batch_norm(wide, None, None, training=True, eps=eps)
    (output * cotangent.double()).sum().backward()
    return output.detach(), wide.grad


def expect_norm(sub, batches, sizes, *, atol, grad_atol, why, eps=1e-5, momentum=0.1):
    """Compare forward and backward with the global batch, all forward passes before the first backward."""
    run = sub.ranks(
        "driver:batch_norm",
        world=len(sizes),
        per_rank=norm_cases(batches, sizes),
        args=(eps, momentum),
        wall=WALL,
    )
    answers = replies(run, "outputs", "gradients")
    for number, (value, cotangent) in enumerate(batches):
        of = f"{value.dim()}-D input, batch {number + 1}"
        for key, expected, bound in zip(
            ("outputs", "gradients"), global_norm(value, cotangent, eps), (atol, grad_atol), strict=True
        ):
            shares = split_rows(expected.to(value.dtype), sizes)
            expect_close(
                [answer[key][number] for answer in answers], shares, atol=bound, why=why, of=f"{key}, {of}"
            )
    return answers


def expect_own(together, alone, *, atol, why, of):
    """Hold answers of the student's code against its own in another situation: values are another check's matter."""
    for rank, (one, two) in enumerate(zip(together, alone, strict=True)):
        expect(
            type(two) is torch.Tensor and type(one) is torch.Tensor,
            f"{of} of rank {rank} is no tensor",
            yours=str(type(one if type(two) is torch.Tensor else two).__name__),
        )
        expect_close(one, two, atol=atol, why=why, of=f"{of} of rank {rank}")


# Far from 0, so that an input that is handed back as it is has little to do with its normalisation.
FAR = {"mean": 9.0, "std": 1.5}


def readings(batches, momentum, *, past):
    """Return the running mean, and every accepted reading of the running spread with its kind.

    This year the spread is the unbiased variance. The statement of past years left open whether `running_std`
    is a standard deviation or a variance, and whether it is biased; all four count.
    """
    channels = batches[0].shape[1]
    mean = torch.zeros(channels, dtype=torch.float64)
    kinds = [("var", 1), ("var", 0), ("std", 1), ("std", 0)] if past else [("var", 1)]
    spreads = [torch.ones_like(mean) for _ in kinds]
    for batch in batches:
        rows = batch.double().transpose(0, 1).flatten(1)
        mean = mean.lerp(rows.mean(1), momentum)
        for index, (kind, correction) in enumerate(kinds):
            variance = rows.var(1, correction=correction)
            now = variance.sqrt() if kind == "std" else variance
            spreads[index] = spreads[index].lerp(now, momentum)
    return mean, [(kind, spread) for (kind, _), spread in zip(kinds, spreads, strict=True)]


def expect_statistics(answer, batches, momentum):
    """Compare the running statistics of one rank; return the running mean and the variance that it keeps."""
    past = "running_std" in answer
    name = "running_std" if past else "running_var"
    mean, spreads = readings(batches, momentum, past=past)
    # 1e-4: float32, a few updates; the nearest wrong reading (biased) differs by more than 1e-2 here.
    why = "a few float32 updates of numbers below 10"
    expect_close(answer.get("running_mean"), mean, atol=1e-4, why=why, of="running_mean")
    found = answer.get(name)
    expect(
        type(found) is torch.Tensor and found.shape == mean.shape,
        f"{name} is no vector of {len(mean)} numbers",
    )
    kind, spread = min(spreads, key=lambda reading: float((found - reading[1]).abs().sum().nan_to_num(1e9)))
    expect_close(found, spread, atol=1e-4, why=why, of=name)
    return mean, spread if kind == "var" else spread**2


def expect_evaluation(sub, batches, sizes, probe, *, key, momentum=0.1, eps=1e-5):
    """Train on `batches`, then compare the evaluation of `probe`: `outputs`, or those of a `restored` copy."""
    cases = norm_cases([(batch, batch) for batch in batches], sizes, probe=split_rows(probe, sizes))
    run = sub.ranks(
        "driver:batch_norm_in_evaluation", world=len(sizes), per_rank=cases, args=(eps, momentum), wall=WALL
    )
    hint = "In evaluation mode the running statistics normalise, no batch's do, and nothing updates them."
    for answer, share in zip(replies(run, key, "after"), split_rows(probe, sizes), strict=True):
        mean, variance = expect_statistics(answer, batches, momentum)
        expected = F.batch_norm(share.double(), mean, variance, eps=eps).to(share.dtype)
        why = "float32; batch statistics would be off by more than 1"
        expect_close(answer[key], expected, atol=1e-3, why=why, of=f"evaluation, {key}", hint=hint)
        expect(type(answer["after"]) is dict, "the driver's reply is damaged")
        for name in ("running_mean", "running_var", "running_std"):
            if name in answer:
                of = f"{name} after an evaluation"
                expect_equal(answer["after"].get(name), answer[name], of=of, hint=hint)


@check(
    item="syncbn",
    points=1,
    hint="Mean, variance and count of all ranks in forward; sums of dy and of dy * y over all ranks in backward.",
)
def syncbn_matches_the_global_batch(sub):
    """Output and input gradient equal those of one BatchNorm on the batches of 4 ranks joined (random cotangent)."""
    batches = [(sub.rng.normal((4 * 32, 24), mean=0.5, std=2.0), sub.rng.normal((4 * 32, 24)))]
    expect_norm(sub, batches, [32] * 4, atol=1e-4, grad_atol=1e-4, why=FLOAT32_NORM)


@check(
    item="syncbn",
    points=1,
    hint="Join everything that must travel into one tensor.",
    forgeable="the name of the collective comes from the worker; the packets between the ranks, counted outside, "
    "must agree with it",
    accepts=dict.fromkeys(("zeros", "constant"), "it counts collectives; other checks compare the values"),
)
def syncbn_communicates_once(sub):
    """One collective per forward and one per backward pass: as many packets as that many collectives cost here."""
    repeats, world = 60, 2
    value, cotangent = sub.rng.normal((world * 16, 20)), sub.rng.normal((world * 16, 20))
    cases = norm_cases([(value, cotangent)], [16] * world)
    run = sub.ranks("driver:batch_norm_watched", world=world, per_rank=cases, args=(repeats,), wall=WALL)
    for answer in replies(run, "forward", "backward"):
        for name in ("forward", "backward"):
            expect(len(answer[name]) == repeats, "the driver's reply is damaged")
            for calls in answer[name]:
                told = calls if len(calls) else "none"
                expect(len(calls) == 1, f"{len(calls)} collectives in {name}", yours=told, spec="exactly one")
    claimed = [run.results[0][name][0][0] for name in ("forward", "backward")]
    expect(all(type(one) is str for one in claimed), "the driver's reply is damaged", yours=claimed)
    message = torch.zeros(2 * value.shape[1] + 1)
    same = sub.ranks(
        "driver:replay", world=world, per_rank=[message] * world, args=(claimed, repeats), wall=WALL
    )
    # A third collective beside two adds a third at least; runs of the same work differ by less than a tenth.
    expect_traffic(
        run.network_packets,
        same.network_packets,
        of="times the packets of one collective per pass",
        at_most=1.22,
        at_least=0.5,
    )


@check(
    item="syncbn",
    points=0.5,
    hint="running = (1 - momentum) * running + momentum * new, with the unbiased variance of the global batch.",
)
def syncbn_keeps_running_statistics(sub):
    """In evaluation mode the running statistics normalise: mean and unbiased variance, momentum as in PyTorch."""
    batches = [sub.rng.normal((2 * 3, 8), mean=2.0, std=2.0) for _ in range(3)]
    probe = sub.rng.normal((2 * 3, 8), mean=-1.0, std=3.0)
    expect_evaluation(sub, batches, [3, 3], probe, key="outputs", momentum=0.3)


# --- metrics ------------------------------------------------------------------------------------------------


def expect_accuracy(sub, rows, world, *, width=32, classes=5, training=False, public=True):
    """Compare with the accuracy that one process gets; the data must reach the ranks in shards.

    Unless `public`, bytes are not measured, and padding that was counted passes: the public check charges both.
    """
    inputs, weight = sub.rng.normal((rows, width)), sub.rng.normal((classes, width))
    mean, var = sub.rng.normal((width,)), sub.rng.uniform(0.2, 3.0, (width,))
    # A row of zeros, such as most pad with, is of class 0 like a label that is padded so: where they count, it shows.
    zeros = (-mean / (var + 1e-5).sqrt()) @ weight.t()
    weight[[0, int(zeros.argmax())]] = weight[[int(zeros.argmax()), 0]]
    scores = lambda: ((inputs.double() - mean) / (var.double() + 1e-5).sqrt()) @ weight.double().t()  # noqa: E731
    # float32 must choose the class that float64 chooses, in whatever order it adds: sums of up to 50 terms below 30
    # are right to 50 * 30 * 2^-24 = 1e-4, and the terms to a few roundings.
    while (close := scores().topk(2, 1).values.diff(dim=1).abs().flatten() < 1e-3).any():
        inputs[close] = sub.rng.normal((int(close.sum()), width))
    best = scores().argmax(1)
    # Sorted rows: the shards differ in accuracy, so that a mean of their accuracies shows.
    # Two thirds: where predictions change at random, right ones lost and wrong ones gained do not balance.
    # The last row is right as the first ones are: who pads with copies of either counts too many.
    right = torch.arange(rows) < max(1, 2 * rows // 3)
    right[-1] = True
    labels = torch.where(right, best, (best + 1) % classes)
    model = {"weight": weight, "mean": mean, "var": var, "training": training}
    cases = [{**model, "inputs": None, "labels": None} for _ in range(world)]
    cases[0].update(inputs=inputs, labels=labels)
    run = sub.ranks("driver:accuracy", world=world, per_rank=cases, wall=WALL)
    answers = replies(run, "accuracy", "rows", "training")
    good, padded = int(right.sum()), -(-rows // world) * world
    expected = good / rows
    if not public and type(found := answers[0]["accuracy"]) is float:
        counts = [expected, good / padded, (good + padded - rows) / rows, (good + padded - rows) / padded]
        expected = min(counts, key=lambda one: abs(one - found))
    # The nearest other fraction with this denominator is 1/rows away; float32 keeps seven digits.
    expect_close(answers[0]["accuracy"], expected, atol=1e-6, why="float32 digits", of="accuracy on rank 0")
    for rank, answer in enumerate(answers):
        extra = "" if rank == 0 else answer["accuracy"]
        expect(rank == 0 or extra is None, f"rank {rank} returned an accuracy", yours=extra, spec="None")
        of = f"mode of the model after the call, rank {rank}"
        expect_equal(answer["training"], training, of=of, hint="Put the mode back that you found.")
        expect_at_most(answer["rows"], -(-rows // world), of=f"rows that rank {rank} ran the model on")
    if public:
        expect_traffic(
            run.network_bytes,
            inputs.nbytes + labels.nbytes,
            of="data-set sizes over the network",
            hint="dist.scatter sends each rank its shard; nobody needs the rest.",
            at_most=1.0,
            at_least=0.5,
        )


@check(
    item="metrics",
    points=0.5,
    hint="Pad the shards to one length for scatter, count without the padding, add up counts, divide once.",
    forgeable="how many rows each rank evaluates is counted inside its process; value and bytes are not",
)
def accuracy_equals_that_of_one_process(sub):
    """4 ranks, 4,001 rows: rank 0 returns the exact accuracy, each rank gets its shard and no more."""
    expect_accuracy(sub, rows=4001, world=4)


# --- accumulation -------------------------------------------------------------------------------------------


def micro_batches(sub, sizes, width, classes):
    """Return random micro-batches of the given sizes."""
    return [(sub.rng.normal((size, width)), sub.rng.integers(0, classes, (size,))) for size in sizes]


def steps_in_one_process(weights, steps, rule, factor=1.0):
    """Return both weights after SGD with momentum on the joined batch of each step, in float64.

    Gradients are taken times `factor`.
    """
    weights = [weight.double().requires_grad_() for weight in weights]
    velocity = [torch.zeros_like(weight) for weight in weights]
    for ranks in steps:
        inputs = torch.cat([inputs for batches in ranks for inputs, _ in batches]).double()
        targets = torch.cat([targets for batches in ranks for _, targets in batches])
        loss = factor * F.cross_entropy(torch.tanh(inputs @ weights[0].t()) @ weights[1].t(), targets)
        gradients = torch.autograd.grad(loss, weights)
        velocity = [rule["momentum"] * v + g for v, g in zip(velocity, gradients, strict=True)]
        weights = [
            (w - rule["lr"] * v).detach().requires_grad_() for w, v in zip(weights, velocity, strict=True)
        ]
    return [weight.detach().float() for weight in weights]


def expect_steps(sub, sizes, *, hidden, width=20, classes=7, unused=False, public=True):
    """Run a step per entry of `sizes` ([step][rank][micro-batch] rows); compare weights, measure the bytes.

    Unless `public`, gradients that are too large or too small by the number of ranks pass, and so do batches that
    are too large: the public check charges both.
    """
    rule = {"lr": 0.5, "momentum": 0.9}
    weights = [sub.rng.normal((hidden, width), std=0.3), sub.rng.normal((classes, hidden), std=0.3)]
    steps = [[micro_batches(sub, rows, width, classes) for rows in step] for step in sizes]
    world = len(sizes[0])
    cases = [
        {"weights": weights, "steps": [step[rank] for step in steps], "unused": unused, **rule}
        for rank in range(world)
    ]
    run = sub.ranks("driver:optimizer_steps", world=world, per_rank=cases, wall=WALL)
    answers = replies(run, "weights", "largest")
    still = all(
        type(one) is torch.Tensor and torch.equal(one, weight)
        for one, weight in zip(answers[0]["weights"], weights, strict=True)
    )
    expect(not still, "the weights did not change", spec=f"optimizer steps: {len(steps)}", hint="")
    # Of two that are further apart than twice the tolerance below, one fails there; here the reason can be said.
    for rank, answer in enumerate(answers):
        for one, two in zip(answer["weights"], answers[0]["weights"], strict=True):
            alike = type(one) is torch.Tensor and type(two) is torch.Tensor and one.shape == two.shape
            expect(
                not alike or not bool(((one - two).abs() > 2e-5).any()),
                f"ranks 0 and {rank} have different weights after the step, though they had the same before it",
                spec="the same step on every rank",
                hint="The gradients of every micro-batch, the last one too, must be in what the ranks exchange.",
            )
    right = [
        steps_in_one_process(weights, steps, rule, factor)
        for factor in (1.0, world, 1 / world)[: 1 if public else 3]
    ]
    found = answers[0]["weights"][0]
    if type(found) is torch.Tensor and found.shape == weights[0].shape:
        right.sort(key=lambda one: float((found - one[0]).abs().sum()))
    for number, expected in enumerate(right[0]):
        expect_close(
            PerRank(answer["weights"][number] for answer in answers),
            expected,
            atol=1e-5,
            why="float32 gradients below 1, rounded after each micro-batch",
            hint="The mean over all samples of all ranks: sum up what each sample gives, and divide once.",
            of=f"weight {number + 1} after {len(steps)} optimizer step{'s' * (len(steps) > 1)}",
        )
    for rank, answer in enumerate(answers if public else []):
        largest = max(rows for step in sizes for rows in step[rank])
        of = f"rows at once on rank {rank}"
        expect_at_most(
            answer["largest"], largest, of=of, hint="One micro-batch at a time goes through the model."
        )
    return run, sum(weight.nbytes for weight in weights)


@check(
    item="accumulation",
    points=0.5,
    hint="Let each micro-batch add to .grad, and exchange the gradients once, after the last.",
    forgeable="how many rows the model gets at once is counted inside the process; weights and bytes are not",
)
def accumulation_communicates_once(sub):
    """4 ranks, 3 micro-batches each: the step of one large batch, and its gradients travel once, not 3 times."""
    run, size = expect_steps(sub, [[[8, 8, 8]] * 4], hidden=6000)
    # 6.0 gradient sizes for one all-reduce on 4 ranks, 6.8 for gloo's reduce (3.8) and a broadcast; one
    # all-reduce per micro-batch makes 18.
    expect_traffic(
        run.network_bytes, size, of="gradient sizes over the network", at_most=1.2 * 6, at_least=1.0
    )
