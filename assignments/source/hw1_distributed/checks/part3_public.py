"""Public checks of part 3. The hidden ones call the same procedures with other inputs."""

import contextlib
from itertools import pairwise

import torch
import torch.nn.functional as F

from grader.checks import (
    Failed,
    PerRank,
    check,
    expect,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_related,
    expect_slope_at_most,
    expect_traffic,
    gather,
    not_measured,
    record,
)

WALL = 30  # seconds for one run; an honest one takes under two seconds, some on a busy machine
MIB = 1 << 20
FLOAT64 = "float64: sums of some hundred numbers near 1 are right to 1e-13"


def replies(run, *keys):
    """Return what the driver sent back from each rank, after a look at its form."""
    for reply in run.results:
        expect(type(reply) is dict and all(key in reply for key in keys), "the driver's reply is damaged")
    return run.results


def expect_all_close(actual, expected, *, atol, why, of):
    """Compare a list with a list of as many tensors, whatever came in the place of the first; record the worst."""
    right = type(actual) is list and len(actual) == len(expected)
    expect(
        right, f"{of}: not as many tensors as there should be", yours=actual, spec=f"{len(expected)} tensors"
    )
    worst = 0.0
    with gather() as evidence:
        for number, (one, two) in enumerate(zip(actual, expected, strict=True)):
            expect_close(one, two, atol=atol, why=why, of=f"{of}, tensor {number}")
            worst = max(worst, evidence.measured[-1]["value"])
        evidence.measured.clear()
    record(f"largest error, {of}", worst, bound=f"<= {atol:g} ({why})")


def drawn(seed, *shape, scale=1.0):
    """Return the numbers that the driver draws from this seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul_(scale)


def expect_memory(sub, run, sizes, bound, *, fixed, of, unit, watched=None):
    """Bound the peak memory of runs as `expect_slope_at_most` does; where it is too much, say in which phase.

    Of the runs, only the last leaves its evidence, and one that fails. `watched` runs the largest size once more,
    with an eye on the messages.
    """
    last = []

    def quietly(size):
        with gather() as evidence:
            last[:] = [run(size)]
            if size != sizes[-1]:
                evidence.measured.clear()
        return last[0]

    line = sub.slope(quietly, sizes)
    try:
        expect_slope_at_most(line, bound, fixed=fixed, of=of, unit=unit)
    except Failed as failed:
        answer = (watched(sizes[-1]) if watched else last[0]).result
        phase = answer.get("peak") if type(answer) is dict else None
        if not isinstance(phase, str) or not phase:
            raise
        why = f"{failed.why}; its memory peaks in {phase[:80]}"
        raise Failed(why, failed.yours, failed.expected, hint=failed.hint) from None


@contextlib.contextmanager
def one_thread():
    """Compute with one thread: on a busy machine, threads that wait for each other take ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# --- checkpoint ---------------------------------------------------------------------------------------------


def noisy_case(sub, *, share, differentiable=True, without_grad=False, passes=1, depth=3):
    """Return inputs for `noisy_chain`: float64, 7 rows, 5 columns."""
    normal = lambda *shape: sub.rng.normal(shape, dtype=torch.float64)  # noqa: E731
    return {
        "value": normal(7, 5),
        "other": normal(7, 5),
        "weights": [normal(5, 5) for _ in range(depth)],
        "cotangents": [normal(7, 5), normal(7, 5)],
        "gain": float(sub.rng.uniform(0.5, 1.5, ())),
        "seed": sub.rng.integers(0, 1 << 31),
        "share": share,
        "differentiable": differentiable,
        "without_grad": without_grad,
        "passes": passes,
    }


def chain_without_checkpoints(case):
    """Return what `noisy_chain` gives where `checkpoint` only calls the function."""
    # The default generator of the worker, with the same seed, draws the same numbers.
    generator = torch.Generator().manual_seed(case["seed"])
    weights = [weight.clone().requires_grad_() for weight in case["weights"]]
    start = [case[name].clone().requires_grad_(case["differentiable"]) for name in ("value", "other")]
    value, other = start
    for weight in weights:
        mask = torch.rand(value.shape, dtype=value.dtype, generator=generator) < case["share"]
        change = case["gain"] * torch.tanh(value @ weight) * mask
        value, other = other + change, value - 0.5 * other
    found = {"between": torch.rand(3, generator=generator), "outputs": [value.detach(), other.detach()]}
    passes = 0 if case["without_grad"] else case["passes"]
    if passes:
        leaves = [*(start if case["differentiable"] else []), *weights]
        pairs = zip((value, other), case["cotangents"], strict=True)
        gradients = torch.autograd.grad(sum((one * cotangent).sum() for one, cotangent in pairs), leaves)
        gradients = [passes * gradient for gradient in gradients]
    else:
        gradients = []
    found["weights"] = gradients[len(gradients) - len(weights) :] if passes else []
    found["gradients"] = gradients[: len(gradients) - len(weights)] if passes else []
    found["after"] = torch.rand(3, generator=generator)
    return found


def expect_chain(sub, case, *, draws=True):
    """Compare outputs, gradients, and with `draws` the random numbers of others, with a chain without checkpoints."""
    run = sub.call("driver:noisy_chain", case, wall=WALL)
    (answer,) = replies(run, "outputs", "gradients", "weights", "between", "after", "calls", "node")
    expected = chain_without_checkpoints(case)
    for key, of in (
        ("outputs", "output"),
        ("weights", "gradient of weight"),
        ("gradients", "gradient of input"),
    ):
        expect_all_close(answer[key], expected[key], atol=1e-10, why=FLOAT64, of=of)
    for key, when in (("between", "after forward"), ("after", "after backward")) if draws else ():
        # Other random numbers differ by more than 0.1 or so; the same ones agree to the last bit.
        expect_equal(answer[key], expected[key], of=f"random numbers that are drawn {when}")
    return answer


@check(
    item="checkpoint",
    points=0.5,
    hint="Detach the saved inputs, run the function under torch.enable_grad(), call backward on its outputs, "
    "return the gradients of the inputs in the order of forward's arguments.",
    forgeable="that Recompute made the output, and not PyTorch's own checkpoint, only the process itself can tell",
)
def checkpoint_keeps_gradients(sub):
    """By way of Recompute: outputs, gradients of inputs and of weights are those without checkpoints (float64)."""
    answer = expect_chain(
        sub, noisy_case(sub, share=2.0), draws=False
    )  # every random number is below 2: no mask
    expect_equal(answer["node"], "RecomputeBackward", of="the node of the graph that made the output")


@check(
    item="checkpoint",
    points=0.5,
    hint="Save torch.get_rng_state() in forward. In backward, set it for the second run, and put back what was "
    "there before (torch.random.fork_rng).",
)
def checkpoint_repeats_random_numbers(sub):
    """The second run draws the masks of the first, and what is drawn after backward is as without checkpoints."""
    expect_chain(sub, noisy_case(sub, share=0.5))


def gradients_of_blocks(value, weights):
    """Return the gradient of every weight of a network of the driver's blocks, block by block."""

    def block(value, weight):
        hidden = value @ weight
        return value + torch.relu(torch.sigmoid(hidden) * hidden)

    inputs = []
    for weight in weights:
        inputs.append(value)
        value = block(value, weight)
    cotangent, found = torch.full_like(value, 1 / value.numel()), []
    for value, weight in zip(reversed(inputs), reversed(weights), strict=True):
        leaves = value.requires_grad_(), weight.clone().requires_grad_()
        cotangent, gradient = torch.autograd.grad(block(*leaves), leaves, cotangent)
        found.append(gradient)
    return torch.stack(found[::-1])


def memory_of_blocks(sub, sizes, blocks, segments, *, bound, of, exact, rows=1 << 14, width=16):
    """Bound the slope of peak memory over networks of `blocks(size)` blocks in `segments(size)` segments.

    An activation takes 1 MiB. Gradients are compared where `exact`; else they must be related to the right ones.
    """
    value = sub.rng.normal((rows, width))

    def run(size):
        count = blocks(size)
        # So small that 100 blocks keep numbers near 1.
        weights = list(sub.rng.normal((count, width, width), std=min(0.1, 2.5 / count)))
        run = sub.call("driver:deep_network", value, weights, segments(size), wall=WALL)
        (answer,) = replies(run, "weights", "calls")
        why = "float32 means over many rows, through many blocks; a block left out changes more than a tenth"
        with one_thread():
            expected = gradients_of_blocks(value.clone(), weights)
        of_weights = "gradients of the weights"
        if exact:
            expect_close(answer["weights"], expected, atol=1e-5, rtol=1e-4, why=why, of=of_weights)
        else:
            expect_related(answer["weights"], expected, of=of_weights, hint="")
        expect_equal(answer["calls"], [2] * len(weights), of="how often each block ran")
        return run

    # A worker that keeps nothing is at 60 MiB here, half of it buffers of matrix products.
    expect_memory(sub, run, sizes, bound, fixed=90 * MIB, of=of, unit=MIB)


TWICE = "how often a block runs is counted inside the process; memory and gradients are not"


@check(
    item="checkpoint",
    points=0.5,
    wall=120,
    hint="Between forward and backward, nothing may hold what was computed within a block: no graph, no outputs.",
    forgeable=TWICE,
)
def checkpoint_keeps_inputs_only(sub):
    """Peak memory grows by one activation of 1 MiB per block, at most by 1.6 (plain: 4); each block runs twice."""
    of = "activations of 1 MiB per block"
    one_by_one = {"blocks": lambda depth: depth, "segments": lambda depth: None}
    memory_of_blocks(sub, (4, 12, 28), **one_by_one, bound=1.6 * MIB, of=of, exact=False)


# --- sharded_optimizer and sharded_gradients ----------------------------------------------------------------


def adam_in_one_process(case, world, times=1.0):
    """Return parameters and norms after Adam in float64 on the mean of all ranks' gradients, times `times`."""
    parameters = [value.clone().requires_grad_() for value in case["parameters"]]
    means = [torch.zeros_like(value) for value in parameters]
    squares = [torch.zeros_like(value) for value in parameters]
    lr, (beta1, beta2), eps = (case["rule"][name] for name in ("lr", "betas", "eps"))
    norms = []
    for number, ranks in enumerate(case["steps"], 1):
        losses = []
        for inputs, targets in (batch for batches in ranks for batch in batches):
            first, bias, second, factor = parameters
            outputs = torch.tanh(inputs @ first + bias) @ second * factor
            losses.append((outputs - targets).square().mean())
        gradients = torch.autograd.grad(times * sum(losses) / world, parameters)
        norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
        norms.append(norm)
        scale = min(1.0, case["max_norm"] / norm) if case["max_norm"] else 1.0
        with torch.no_grad():
            for value, gradient, mean, square in zip(parameters, gradients, means, squares, strict=True):
                gradient = scale * gradient
                mean.copy_(beta1 * mean + (1 - beta1) * gradient)
                square.copy_(beta2 * square + (1 - beta2) * gradient**2)
                spread = (square / (1 - beta2**number)).sqrt() + eps
                value -= lr * (mean / (1 - beta1**number)) / spread
    return [value.detach() for value in parameters], norms


def expect_adam(sub, kind, *, world, sizes, steps, passes=1, max_norm=None, rows=6, public=False):
    """Compare some steps on a network of layers of `sizes` (inputs, hidden, outputs) with Adam in one process.

    Unless `public`, there is a parameter without dimensions, the norms are not compared, and gradients that are too
    large or too small by the number of ranks pass: the public check of stage 1 charges those.
    """
    normal = lambda *shape: sub.rng.normal(shape, dtype=torch.float64)  # noqa: E731
    width, hidden, outputs = sizes
    case = {
        "parameters": [
            normal(width, hidden),
            normal(hidden),
            normal(hidden, outputs),
            normal(*[outputs] * public),
        ],
        # A large eps: else Adam hardly notices gradients that are too large, scaled or not.
        "rule": {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6 if public else 0.1},
        "max_norm": max_norm,
        "steps": [
            [[(normal(rows, width), normal(rows, outputs)) for _ in range(passes)] for _ in range(world)]
            for _ in range(steps)
        ],
    }
    per_rank = [{**case, "steps": [step[rank] for step in case["steps"]]} for rank in range(world)]
    run = sub.ranks("driver:adam_steps", world=world, per_rank=per_rank, args=(kind,), wall=WALL)
    ways = [
        adam_in_one_process(case, world, times) for times in (1.0, world, 1 / world)[: 1 if public else 3]
    ]
    untouched = [torch.ones(3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)]
    answers = replies(run, "parameters", "norms")
    first = answers[0]["parameters"]
    if (
        type(first) is list
        and first
        and type(first[0]) is torch.Tensor
        and first[0].shape == ways[0][0][0].shape
    ):
        still = torch.equal(first[0], case["parameters"][0])
        expect(not still, "the parameters did not change", spec=f"steps: {steps}", hint="")
        ways.sort(key=lambda way: float((first[0] - way[0][0]).abs().sum()))
    parameters, norms = ways[0]
    # Adam divides by the gradient's size: where that is near 1e-6, rounding grows a million times.
    why = "float64; steps of 0.05, whose rounding Adam's division can magnify"
    for rank, answer in enumerate(answers):
        of = f"parameter on rank {rank}"
        expect_all_close(answer["parameters"], [*parameters, *untouched], atol=1e-8, why=why, of=of)
        found = answer["norms"]
        expect(type(found) is list and len(found) == len(norms), "the driver's reply is damaged")
    for number, norm in enumerate(norms if public else []):
        returned = [answer["norms"][number] for answer in answers]
        for rank, one in enumerate(returned):
            expect(
                type(one) is float, f"step() returned no float on rank {rank}", yours=one, spec=f"{norm:.8g}"
            )
        found, right = torch.tensor(returned).double(), torch.full((world,), norm).double()
        expect_close(
            found, right, atol=1e-4, why="a float32 digit or two", of=f"norm returned by step {number + 1}"
        )


def memory_of_adam(sub, kind, bound, *, layers=(4, 12, 24), width=512, world=4, steps=2):
    """Bound the bytes per parameter in peak memory, over the number of layers; check weights and bytes sent."""
    rule = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 10.0}
    samples = sub.rng.permutation(width * width)[:200]

    def begin(count, seed, watch):
        return sub.ranks(
            "driver:adam_memory",
            world=world,
            per_rank=[samples] * world,
            args=(kind, seed, count, width, steps, rule, watch),
            wall=WALL,
        )

    def run(count):
        seed = sub.rng.integers(1 << 20, 1 << 40)
        run = begin(count, seed, False)
        with one_thread():
            weights = adam_on_squares(seed, count, width, steps, world, rule)
        expected = torch.stack([weight.flatten()[samples] for weight in weights])
        start = torch.stack(
            [
                drawn(seed + layer, width, width, scale=width**-0.5).flatten()[samples]
                for layer in range(count)
            ]
        )
        found = [answer["samples"] for answer in replies(run, "samples")]
        for rank, one in enumerate(found):
            expect(
                type(one) is torch.Tensor and one.shape == start.shape,
                f"rank {rank}: the driver's reply is damaged",
            )
        of = f"what {steps} steps change in {count} weights"
        # eps is large here, so that a step is nearly proportional to the gradient, and a factor changes no direction.
        changes = PerRank(one - start for one in found)
        expect_related(changes, expected - start, at_least=0.8, of=of, hint="")
        size = steps * sum(weight.nbytes for weight in weights)
        expect_traffic(
            run.network_bytes,
            size,
            of="parameter sizes per step over the network",
            at_most=7.2,
            at_least=5.4,
            hint="3 sizes for phase 1 and 3 for phase 3: the statement says which calls take more.",
        )
        for rank in range(world):
            sent = None if run.sent is None else sum(run.sent[rank])
            of, hint = (
                f"parameter sizes per step sent by rank {rank}",
                "Every rank updates a part, and sends as much.",
            )
            expect_traffic(sent, size, of=of, at_most=2.0, hint=hint)
        return run

    # Four ranks are at 55 MiB before they keep anything.
    expect_memory(
        *(sub, run, layers, bound * width * width),
        fixed=90 * MIB,
        of="bytes per parameter",
        unit=width * width,
        watched=lambda count: begin(count, sub.rng.integers(1 << 20, 1 << 40), True),
    )


def adam_on_squares(seed, layers, width, steps, world, rule):
    """Return the weights of the driver's `adam_memory` after Adam in one process."""
    weights = [drawn(seed + layer, width, width, scale=width**-0.5) for layer in range(layers)]
    means = [torch.zeros_like(weight) for weight in weights]
    squares = [torch.zeros_like(weight) for weight in weights]
    beta1, beta2 = rule["betas"]
    for step in range(steps):
        leaves = [weight.requires_grad_() for weight in weights]
        value = torch.cat([drawn(seed - 1 - step * world - rank, 4, width) for rank in range(world)])
        for weight in leaves:
            value = torch.tanh(value @ weight)
        gradients = torch.autograd.grad(value.sum(1).mean(), leaves)
        weights = [weight.detach() for weight in leaves]
        for weight, gradient, mean, square in zip(weights, gradients, means, squares, strict=True):
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            spread = (square / (1 - beta2 ** (step + 1))).sqrt() + rule["eps"]
            weight.addcdiv_(mean, spread, value=-rule["lr"] / (1 - beta1 ** (step + 1)))
    return weights


@check(
    item="sharded_optimizer",
    points=0.5,
    hint="Reduce-scatter the gradients, update your part with adam_update, all-gather the parts. The norm is over "
    "all ranks' parts: add up squares with an all-reduce, then take the root.",
)
def sharded_adam_steps_like_one_process(sub):
    """4 ranks, 3 steps, gradients clipped: parameters and norms are those of Adam in one process (float64)."""
    expect_adam(sub, "ShardedAdam", world=4, sizes=(8, 12, 4), steps=3, max_norm=0.5, public=True)


@check(
    item="sharded_optimizer",
    points=0.5,
    wall=120,
    hint="Make the moving averages for your part only. No copy of all gradients or of all parameters: go through "
    "them one by one, or let them be views of one buffer.",
)
def sharded_adam_divides_its_state(sub):
    """4 ranks hold 44 bytes per parameter (undivided: 64), at most 55, and send 6 sizes per step, at most 7.2."""
    # 52 where gloo's reduce has a buffer of its own; one size more on every rank makes 60.
    memory_of_adam(sub, "ShardedAdam", 55)


@check(
    item="sharded_gradients",
    points=0.5,
    wall=120,
    hint="A hook of register_post_accumulate_grad_hook is called when a gradient is complete: reduce it there, keep "
    "your part, set .grad to None.",
)
def sharded_gradients_are_dropped_during_backward(sub):
    """4 ranks hold 28 bytes per parameter (stage 1: 44), at most 35, and send 6 sizes per step, at most 7.2."""
    memory_of_adam(sub, "ShardedGradientAdam", 35)


# --- tensor_parallel ----------------------------------------------------------------------------------------


def whole_layer(kind, weights, heads, value):
    """Return the output of the whole MLP, or of the whole causal attention."""
    first, first_bias, second, second_bias = weights
    hidden = value @ first.t() + first_bias
    if kind == "mlp":
        return F.gelu(hidden) @ second.t() + second_bias
    query, key, values = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in hidden.chunk(3, -1))
    scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ values
    return mixed.transpose(1, 2).flatten(2) @ second.t() + second_bias


def random_weights(sub, kind, width, hidden, dtype):
    """Return whole weights of a layer, of such a size that outputs are near 1."""
    inner = 3 * width if kind == "attention" else hidden
    back = width if kind == "attention" else hidden
    shapes = [(inner, width), (inner,), (width, back), (width,)]
    return [sub.rng.normal(shape, std=shape[-1] ** -0.5, dtype=dtype) for shape in shapes]


def expect_layer(sub, kind, *, world, heads, width, hidden=24, shapes=((2, 5),), differentiable=True):
    """Compare a layer with the whole one: outputs, input gradients, and outputs after an SGD step (float64)."""
    weights = random_weights(sub, kind, width, hidden, torch.float64)
    normal = lambda shape: sub.rng.normal((*shape, width), dtype=torch.float64)  # noqa: E731
    case = {
        "kind": kind,
        "weights": weights,
        "heads": heads,
        "inputs": [normal(shape) for shape in shapes],
        "cotangents": [normal(shape) for shape in shapes],
        "probe": normal(shapes[0]),
        "lr": 0.1,
        "differentiable": differentiable,
    }
    run = sub.ranks("driver:parallel_layer", world=world, per_rank=[case] * world, wall=WALL)
    leaves = [weight.clone().requires_grad_() for weight in weights]
    inputs = [value.clone().requires_grad_(differentiable) for value in case["inputs"]]
    outputs = [whole_layer(kind, leaves, heads, value) for value in inputs]
    loss = sum((one * two).sum() for one, two in zip(outputs, case["cotangents"], strict=True))
    loss.backward()
    after = [leaf.detach() - case["lr"] * leaf.grad for leaf in leaves]
    probe = whole_layer(kind, after, heads, case["probe"])
    expected = {
        "outputs": [output.detach() for output in outputs],
        "gradients": [value.grad for value in inputs] if differentiable else [],
        "probe": [probe],
    }
    names = {"outputs": "output", "gradients": "input gradient", "probe": "output after an SGD step"}
    for rank, answer in enumerate(replies(run, *names)):
        answer["probe"] = [answer["probe"]]
        for key, name in names.items():
            of = f"{name} of the {kind} on rank {rank}"
            expect_all_close(answer[key], expected[key], atol=1e-10, why=FLOAT64, of=of)


@check(
    item="tensor_parallel",
    points=0.5,
    hint="W1 by rows (hidden units), W2 by columns; b2 once, after the sum. The gradient of the input is the sum of "
    "all ranks' contributions.",
)
def mlp_equals_the_whole(sub):
    """4 ranks: output, input gradient, and the output after an SGD step are those of the whole MLP (float64)."""
    expect_layer(sub, "mlp", world=4, heads=4, width=12)


@check(
    item="tensor_parallel",
    points=0.5,
    hint="Cut queries, keys and values each by heads, not the rows of w_qkv as one matrix; w_out by columns.",
)
def attention_equals_the_whole(sub):
    """2 ranks, 4 heads: output, input gradient, and the output after an SGD step are those of the whole attention."""
    expect_layer(sub, "attention", world=2, heads=4, width=12)


@check(
    item="tensor_parallel",
    points=0.25,
    hint="One all-reduce per layer in forward, after the second matrix, and one in backward, before the first.",
    accepts={"zeros": "bytes are counted; other checks compare the values"},
)
def parallel_block_communicates_four_times(sub):
    """Attention and MLP, forward and backward, on 4 ranks: as many bytes as four all-reduces of the activations."""
    world, heads, width, hidden = 4, 4, 64, 128
    shape = (2, 1000, width)
    case = {
        "attention": random_weights(sub, "attention", width, hidden, torch.float32),
        "mlp": random_weights(sub, "mlp", width, hidden, torch.float32),
        "heads": heads,
        "input": sub.rng.normal(shape),
        "cotangent": sub.rng.normal(shape),
    }
    run = sub.ranks("driver:parallel_block", world=world, per_rank=[case] * world, wall=WALL)
    start = case["input"].clone().requires_grad_()
    value = start + whole_layer("attention", case["attention"], heads, start)
    value = value + whole_layer("mlp", case["mlp"], heads, value)
    (value * case["cotangent"]).sum().backward()
    answers = replies(run, "output", "gradient")
    # What the layers are worth, others check; who leaves one out sends too little.
    for key, right, of in (("output", value.detach(), "output"), ("gradient", start.grad, "input gradient")):
        expect_related(PerRank(answer[key] for answer in answers), right, at_least=0.5, of=of, hint="")
    # An all-reduce of n = 4 ranks moves 2 (n - 1) = 6 sizes. A fifth would make 5 of 4.
    unit = 6 * start.nbytes
    expect_traffic(run.network_bytes, unit, of="all-reduces of the activations", at_most=4.4, at_least=3.8)


@check(
    item="tensor_parallel",
    points=0.25,
    wall=120,
    hint="A slice of a tensor is a view, and keeps the whole memory alive; clone it.",
)
def parallel_layers_hold_their_share(sub):
    """On 4 ranks, weights and gradients of a block take 2 times its weights' bytes in all, at most 2.6."""
    world, heads, width, hidden = 4, 4, 128, 2048
    value = sub.rng.normal((1, 3, width))
    block = 4 * (4 * width * width + 2 * width * hidden)

    def run(layers):
        seed = sub.rng.integers(1 << 20, 1 << 40)
        run = sub.ranks(
            "driver:parallel_stack",
            world=world,
            per_rank=[value] * world,
            args=(seed, layers, width, hidden, heads),
            wall=WALL,
        )
        with one_thread():
            output, gradient = stack_of_blocks(value, seed, layers, width, hidden, heads)
        answers = replies(run, "output", "gradient")
        changed = PerRank(
            one["output"] - value if type(one["output"]) is torch.Tensor else None for one in answers
        )
        expect_related(
            changed, output - value, at_least=0.2, of="what the layers add to their input", hint=""
        )
        gradients = PerRank(one["gradient"] for one in answers)
        expect_related(gradients, gradient, at_least=0.2, of="input gradient", hint="")
        return run

    # Four ranks are at 45 MiB before they keep anything.
    of = "times a block's weights"
    expect_memory(sub, run, (2, 8, 14), 2.6 * block, fixed=110 * MIB, of=of, unit=block)


def stack_of_blocks(value, seed, layers, width, hidden, heads):
    """Return output and input gradient of the driver's `parallel_stack` with whole layers."""
    value = start = value.clone().requires_grad_()
    shapes = [(3 * width, width), (3 * width,), (width, width), (width,)]
    shapes += [(hidden, width), (hidden,), (width, hidden), (width,)]
    for layer in range(layers):
        scaled = [(shape, 0.5 * shape[-1] ** -0.5) for shape in shapes]
        weights = [
            drawn(seed + 8 * layer + number, *shape, scale=scale)
            for number, (shape, scale) in enumerate(scaled)
        ]
        value = value + whole_layer("attention", weights[:4], heads, value)
        value = value + whole_layer("mlp", weights[4:], heads, value)
    (gradient,) = torch.autograd.grad(value.sum(), start)
    return value.detach(), gradient


# --- schedule -----------------------------------------------------------------------------------------------

# What the neighbour does at the other end of a message, and where the neighbour is.
OTHER_END = {
    "send_forward": ("recv_forward", 1),
    "recv_forward": ("send_forward", -1),
    "send_backward": ("recv_backward", -1),
    "recv_backward": ("send_backward", 1),
}


def read_schedule(lists, stages):
    """Return the lists of actions after a look at their form."""
    right = type(lists) is list and len(lists) == stages and all(type(one) is list for one in lists)
    expect(right, "the driver's reply is damaged")
    kinds = {"forward", "backward", *OTHER_END}
    for stage, actions in enumerate(lists):
        for action in actions:
            well = type(action) in (tuple, list) and len(action) == 2
            well = well and type(action[0]) is str and action[0] in kinds and type(action[1]) is int
            expect(well, f"stage {stage}: this is no action", yours=action, spec='such as ("forward", 0)')
    return [[tuple(action) for action in actions] for actions in lists]


def expect_complete(lists, micro_batches):
    """Fail unless each stage does everything that it must, once, and nothing else."""
    stages = len(lists)
    for stage, actions in enumerate(lists):
        kinds = ["forward", "backward"]
        kinds += ["recv_forward", "send_backward"] if stage > 0 else []
        kinds += ["send_forward", "recv_backward"] if stage < stages - 1 else []
        for kind in kinds:
            found = [number for one, number in actions if one == kind]
            expect_equal(
                found, list(range(micro_batches)), of=f"stage {stage} of {stages}: micro-batches of {kind}"
            )
        expect_equal(
            len(actions), len(kinds) * micro_batches, of=f"stage {stage} of {stages}: number of actions"
        )
        place = {action: index for index, action in enumerate(actions)}
        for number in range(micro_batches):
            order = ["recv_forward", "forward", "send_forward", "recv_backward", "backward", "send_backward"]
            order = [kind for kind in order if kind in kinds]
            for one, two in pairwise(order):
                expect(
                    place[one, number] < place[two, number],
                    f"stage {stage} of {stages}: {two} {number} stands before {one} {number}",
                )


def simulate(lists, forward, backward):
    """Let the stages act, with messages that block and take no time; return the time that it takes.

    Raises Failed where stages wait for each other for ever, saying who waits for whom.
    """
    stages = len(lists)
    place, clock = [0] * stages, [0] * stages
    moved = True
    while moved:
        moved = False
        for stage, actions in enumerate(lists):
            while place[stage] < len(actions):
                kind, number = actions[place[stage]]
                if kind in OTHER_END:
                    other, step = OTHER_END[kind]
                    there = stage + step
                    if place[there] == len(lists[there]) or lists[there][place[there]] != (other, number):
                        break
                    clock[stage] = clock[there] = max(clock[stage], clock[there])
                    place[there] += 1
                else:
                    clock[stage] += forward if kind == "forward" else backward
                place[stage] += 1
                moved = True
    stuck = [stage for stage in range(stages) if place[stage] < len(lists[stage])]
    if stuck:
        waits = [f"stage {stage} in {' '.join(map(str, lists[stage][place[stage]]))}" for stage in stuck[:4]]
        raise Failed(f"deadlock of {stages} stages: every one of them waits", "; ".join(waits), "no deadlock")
    return max(clock)


def expect_schedule(sub, stages, micro_batches):
    """Fetch the student's schedule and play it: complete, no deadlock, memory and time of 1F1B."""
    run = sub.call("driver:schedules", stages, micro_batches, wall=WALL)
    lists = read_schedule(run.result, stages)
    with gather() as evidence:
        expect_complete(lists, micro_batches)
        evidence.measured.clear()
    forward, backward = sub.rng.integers(1, 6), sub.rng.integers(1, 9)
    time = simulate(lists, forward, backward)
    for stage, actions in enumerate(lists):
        held = most = 0
        for kind, _ in actions:
            held += {"forward": 1, "backward": -1}.get(kind, 0)
            most = max(most, held)
        of = f"micro-batches at once on stage {stage} of {stages}"
        expect_at_most(most, min(stages - stage, micro_batches), of=of)
    # Time units, exact: one stage alone needs m (f + b), and filling and emptying the pipeline the rest.
    bound = (micro_batches + stages - 1) * (forward + backward)
    expect_at_most(
        time,
        bound,
        of=f"time units for {micro_batches} micro-batches (forward {forward}, backward {backward})",
    )


@check(
    item="schedule",
    points=0.5,
    hint="Stage s starts with stages - s - 1 forward passes. Then both ends of a cable must agree whether the "
    "activation or the gradient goes first.",
    accepts={"cached": "one size for all, named in the statement; the hidden check asks for others"},
)
def schedule_is_1f1b(sub):
    """4 stages, 8 micro-batches: everything once, no deadlock with blocking messages, memory and time of 1F1B."""
    expect_schedule(sub, 4, 8)


# --- pipeline -----------------------------------------------------------------------------------------------


def gpipe(stages, micro_batches):
    """Return the actions of each stage where all forward passes come first, and gradients last to first."""
    lists = []
    for stage in range(stages):
        actions = []
        for number in range(micro_batches):
            actions += [("recv_forward", number)] * (stage > 0) + [("forward", number)]
            actions += [("send_forward", number)] * (stage < stages - 1)
        for number in reversed(range(micro_batches)):
            actions += [("recv_backward", number)] * (stage < stages - 1) + [("backward", number)]
            actions += [("send_backward", number)] * (stage > 0)
        lists.append(actions)
    return lists


def expect_pipeline(
    sub, lists, rows, widths, *, hidden, pairs=1, strided=False, dtype=torch.float64, public=False, **close
):
    """Run one training step on stages of the given widths; compare loss and gradients with one process.

    `lists` are the actions of each stage, None for the student's own; `rows` those of each micro-batch. Unless
    `public`, the sum of the micro-batches' means passes too: the public check charges it. Without tolerances in
    `close`, the last stage's gradients must be related to the right ones, the others' must be there.
    """
    stages = len(widths) - 1
    inputs = [sub.rng.normal((count, widths[0]), dtype=dtype) for count in rows]
    targets = [sub.rng.normal((count, widths[-1]), dtype=dtype) for count in rows]
    weights = []
    for wide, narrow in pairwise(widths):
        # All but the last pair of a stage keep its width.
        outer = [*[wide] * pairs, narrow]
        shapes = [((outer[i], hidden), (hidden, outer[i + 1])) for i in range(pairs)]
        weights.append(
            [sub.rng.normal(shape, std=shape[0] ** -0.5, dtype=dtype) for two in shapes for shape in two]
        )
    cases = [
        {
            "actions": None if lists is None else lists[stage],
            "micro_batches": len(rows),
            "weights": weights[stage],
            "strided": strided,
            "inputs": inputs if stage == 0 else None,
            "targets": targets if stage == stages - 1 else None,
            "shapes": [(count, widths[stage]) for count in rows] if stage > 0 else None,
        }
        for stage in range(stages)
    ]
    run = sub.ranks("driver:pipeline_step", world=stages, per_rank=cases, wall=WALL)
    answers = replies(run, "loss", "gradients")
    shares = [[count / sum(rows) for count in rows], *([] if public else [[1.0] * len(rows)])]
    ways = [whole_network(weights, inputs, targets, share) for share in shares]
    if type(found := answers[-1]["loss"]) is float:
        ways.sort(key=lambda way: abs(way[0] - found))
    total, gradients = ways[0]
    for stage, answer in enumerate(answers):
        expected = gradients[stage]
        if not close:
            there = type(answer["gradients"]) is list and len(answer["gradients"]) == len(expected)
            there = there and all(
                type(one) is torch.Tensor and one.shape == two.shape and bool(one.any())
                for one, two in zip(answer["gradients"], expected, strict=True)
            )
            expect(there, f"stage {stage} has not the gradients of all its weights", hint="")
            if stage == stages - 1:
                joined = [
                    torch.cat([one.flatten() for one in some]) for some in (answer["gradients"], expected)
                ]
                expect_related(*joined, of="gradients of the last stage", hint="")
            continue
        expect_all_close(answer["gradients"], expected, of=f"stage {stage}: gradient of weight", **close)
        if stage < stages - 1:
            expect(
                answer["loss"] is None, f"stage {stage} returned a loss", yours=answer["loss"], spec="None"
            )
    if close:
        expect_close(answers[-1]["loss"], total, of="loss that the last stage returns", **close)
    return run


def whole_network(weights, inputs, targets, shares):
    """Return the loss, each micro-batch's mean times its share, and its gradients, a list for each stage."""
    leaves = [[weight.clone().requires_grad_() for weight in stage] for stage in weights]
    total = 0.0
    with one_thread():
        for value, target, share in zip(inputs, targets, shares, strict=True):
            for stage in leaves:
                for first, second in zip(stage[::2], stage[1::2], strict=True):
                    value = torch.tanh(value @ first) @ second
            loss = (value - target).square().mean() * share
            loss.backward()
            total += loss.item()
    return total, [[leaf.grad for leaf in stage] for stage in leaves]


EXACT = {"atol": 1e-10, "why": FLOAT64}


@check(
    item="pipeline",
    points=0.5,
    hint="The gradient is that of the mean over all rows: scale each micro-batch's loss by its share of the rows.",
    waiting="Do each action once, in the order given: to every send belongs a receive on the neighbour.",
)
def pipeline_equals_one_process(sub):
    """3 stages, 4 micro-batches, actions of GPipe: loss and gradients of one process; each boundary carries once."""
    rows, widths = [1000] * 4, [20, 120, 60, 5]
    run = expect_pipeline(sub, gpipe(3, 4), rows, widths, hidden=16, public=True, **EXACT)
    if run.sent is None:
        not_measured("bytes between stages", "no network namespaces on this machine; the grader has them")
        return
    for one, two, width in ((0, 1, widths[1]), (1, 2, widths[2])):
        size = 8 * sum(rows) * width
        for sender, receiver, what in ((one, two, "activations"), (two, one, "gradients")):
            of = f"sizes of all {what} sent from stage {sender} to stage {receiver}"
            # TCP's headers and acknowledgements of the other direction: a few percent.
            expect_traffic(run.sent[sender][receiver], size, of=of, at_most=1.15, at_least=0.95)
    expect_at_most(run.sent[0][2] + run.sent[2][0], 50_000, of="bytes between the first stage and the last")


@check(
    item="pipeline",
    points=0.25,
    wall=120,
    hint="Keep a micro-batch's graph from its forward to its backward pass and drop it then; and your own schedule "
    "must not run all forward passes first.",
    waiting="Ranks that do not answer wait for each other: does your loop do the actions in the order given?",
)
def pipeline_memory_stays_level(sub):
    """Your schedule in your loop, 3 stages: 16 micro-batches need no more memory than 4 (all at once: 9 MiB each)."""

    def run(count):
        # A micro-batch keeps three activations of 512 x 512 float32, 1 MiB each, on every stage.
        widths = [8, 8, 8, 8]
        return expect_pipeline(sub, None, [512] * count, widths, hidden=512, pairs=3, dtype=torch.float32)

    # Three ranks with buffers for their matrix products, the micro-batches of 1F1B, and some 40 MiB of modules that
    # PyTorch imports in each rank that hands `backward` a gradient: 135 MiB; 175 where the last rank does so too.
    expect_memory(sub, run, (4, 10, 16), 1.5 * MIB, fixed=210 * MIB, of="MiB per micro-batch", unit=MIB)


# --- offload ------------------------------------------------------------------------------------------------


def offload_case(sub, *, depth, rows, repeats, steps=1, latency=0.0, seconds=0.0, ahead=1, own=True):
    """Return inputs for `offloaded_steps`: a pattern of 256 numbers that repeats itself in every activation."""
    return {
        "pattern": sub.rng.normal((256,)),
        "gains": [sub.rng.uniform(0.5, 1.5, (256,)) for _ in range(depth)],
        "rows": rows,
        "repeats": repeats,
        "steps": steps,
        "latency": latency,
        "seconds": seconds,
        "ahead": ahead,
        "own": own,
    }


def expect_offload(sub, case, *, public=False):
    """Run training steps on rank 0 with rank 1 as the store; compare gradients, if `public` counts and bytes too."""
    run = sub.ranks("driver:offloaded_steps", world=2, per_rank=[case, case], wall=WALL)
    trainer, store = run.results
    expect(type(trainer) is dict and "gradients" in trainer, "the driver's reply is damaged")
    expect(type(store) is dict and {"left", "counts"} <= store.keys(), "the store's reply is damaged")
    gains = [gain.clone().requires_grad_() for gain in case["gains"]]
    value = case["pattern"]
    for gain in gains:
        value = torch.tanh(value * gain)
    value.sum().backward()
    expected = [case["steps"] * gain.grad for gain in gains]
    why = "float32, sums of equal rows"
    expect_all_close(trainer["gradients"], expected, atol=1e-4, why=why, of="gradient of gain")
    tensors = case["steps"] * len(gains)
    if not public:
        # How many exactly is another check's matter; who moves nothing has done nothing.
        moved = min(store["counts"][:2])
        expect(
            2 * moved >= tensors, "most activations stay where they are", yours=moved, spec=tensors, hint=""
        )
        return run
    expect_equal(store["counts"][:2], [tensors, tensors], of="tensors that went to the store and came back")
    expect_equal(store["left"], 0, of="tensors left in the store at the end")
    size = tensors * 4 * 256 * case["rows"] * case["repeats"]
    for sender, receiver in ((0, 1), (1, 0)):
        sent = None if run.sent is None else run.sent[sender][receiver]
        of = f"sizes of all activations sent from rank {sender} to rank {receiver}"
        expect_traffic(sent, size, of=of, at_most=1.15, at_least=0.95)
    return run


@check(
    item="offload",
    points=1,
    wall=120,
    hint="The hook returns the key, not the tensor, and nothing else may hold the tensor. Parameters stay at home.",
)
def offload_frees_the_activations(sub):
    """Peak memory grows by at most 0.6 MiB per layer (activations: 2 MiB), and each activation travels once."""

    def run(depth):
        return expect_offload(sub, offload_case(sub, depth=depth, rows=26, repeats=80), public=True)

    # Both ranks together are at 38 MiB before anything is kept.
    expect_memory(sub, run, (4, 12, 28), 0.6 * MIB, fixed=60 * MIB, of="MiB per layer", unit=MIB)
