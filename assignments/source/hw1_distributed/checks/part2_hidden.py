"""Hidden checks of part 2: the procedures of the public checks on the cases where solutions differ."""

import runpy
import secrets
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from grader.checks import PerRank, check, expect, expect_close, expect_lines, expect_related


def _load_public():
    """Return the names of the public file."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part2_public.py"))))


# Called when a check runs: at import, the public checks would be declared a second time, as hidden ones.
public = cache(_load_public)


@check(
    item="sequential_print",
    points=0.25,
    hint="No separator comes after the last iteration.",
    waiting="With one rank there is nobody to wait for.",
)
def prints_alone(sub):
    """World size 1, and a single iteration: no rank to wait for, no separator."""
    for world, num_iter in ((1, 3), (3, 1)):
        run = public().print_with_delays(sub, world, num_iter)
        # Sorted, and whatever comes at the end: order and a last separator are the public check's matter.
        lines = run.stdout.replace("\r\n", "\n").removesuffix("\n").removesuffix("\n---").split("\n")
        expected = sorted(public().expected_lines(world, num_iter))
        expect_lines("\n".join(sorted(lines)), expected, of="the shared standard output, sorted,")


@check(
    item="sequential_print",
    points=0.25,
    hint="Each rank prints its own line.",
    forgeable="a mark that the driver puts before each line tells who printed it",
)
def every_rank_prints_its_own_line(sub):
    """The line of rank r comes from rank r."""
    world, num_iter = sub.rng.choice([3, 5]), 2
    marks = [secrets.token_hex(4) for _ in range(world)]
    run = public().print_with_delays(sub, world, num_iter, [f"{mark} " for mark in marks])
    # Sorted, without separators: the public check looks at the order.
    lines = [line for line in named(run.stdout, marks).split("\n") if line != "---"]
    own = [line for line in own_lines(world, num_iter) if line != "---"]
    expect_lines("\n".join(sorted(lines)), sorted(own), of="the shared standard output, sorted,")


def named(text, marks):
    """Return the lines of `text` with the rank that printed each in place of its mark."""
    lines = []
    for line in text.splitlines():
        mark, _, said = line.partition(" ")
        printer = f" (printed by rank {marks.index(mark)})" if mark in marks else " (printed by nobody)"
        # Any rank may print the separator.
        lines.append(said if said == "---" and mark in marks else said + printer)
    return "\n".join(lines)


def own_lines(world, num_iter):
    """Return the lines of `run_sequential` where each rank prints its own."""
    once = [f"Process {rank} (printed by rank {rank})" for rank in range(world)]
    return (["---", *once] * num_iter)[1:]


@check(item="ring", points=0.5, wall=100, hint="Chunks may be empty, and their lengths may differ by one.")
def ring_takes_any_length(sub):
    """Lengths that do not divide by the world size, shorter than it, and world sizes 1, 2, 3, 5."""
    world = sub.rng.choice([3, 5])
    for size in (world, 4):
        lengths = [1, size - 1, size, 16, 4 * size + 1, sub.rng.integers(100, 2000) * size + size - 1]
        cases = [sub.rng.normal((size, length)) for length in lengths]
        public().expect_mean(sub, cases, atol=1e-5, why=public().FLOAT32_MEAN, or_multiple=True)
    for size in (1, 2):
        cases = [sub.rng.normal((size, 7)), sub.rng.normal((size, 1))]
        public().expect_mean(sub, cases, atol=1e-5, why=public().FLOAT32_MEAN, or_multiple=True)


@check(item="ring", points=0.25, hint="Make buffers with the dtype of the tensor.")
def ring_keeps_float64(sub):
    """A float64 tensor is averaged in float64."""
    # A length that divides by 4: what becomes of a remainder is another check's matter, as a factor is.
    case = sub.rng.normal((4, 1000), mean=1.0).double()
    case += 1e-9 * sub.rng.normal((4, 1000)).double()
    why = "float64 mean of numbers near 1: 1e-15; a float32 buffer loses 1e-8"
    public().expect_mean(sub, [case], atol=1e-12, why=why, or_multiple=True)


@check(item="ring", points=0.5, hint="view(-1) needs contiguous memory and reshape(-1) may copy: copy back.")
def ring_respects_the_layout(sub):
    """2-D tensors, views with strides (memory around them untouched), and several calls in a row."""
    ways = [("transposed", (4, 30, 20)), ("every second", (4, 100)), ("left columns", (4, 12, 5))]
    for layout, shape in ways:
        case = sub.rng.normal(shape)
        run = sub.ranks(
            "driver:ring_on_a_view", world=4, per_rank=list(case), args=(layout,), wall=public().WALL
        )
        answers = public().replies(run, "view", "around")
        views = PerRank(answer["view"] for answer in answers)
        expected = public().nearest_multiple(views[0], case.mean(0), 4)
        expect_close(views, expected, atol=4e-5, why=public().FLOAT32_MEAN, of=f"view, {layout}")
        around = [answer["around"] for answer in answers]
        expect_close(
            around, [value * 0 for value in around], atol=0, why="not part of the tensor", of="the rest"
        )
    cases = [sub.rng.normal((4, 9, 12)), sub.rng.normal((4, 9, 12)), sub.rng.normal((4, 3, 4, 5))]
    public().expect_mean(sub, cases, atol=1e-5, why=public().FLOAT32_MEAN, or_multiple=True)


# Each check of `syncbn` here asks for one thing, and holds the answers of a student against their own in
# another situation, or lets all ranks hold one batch, whose statistics are those of any rank. What is wrong in every
# situation is charged by the public checks.


def normalised(sub, value, cotangent, sizes):
    """Return outputs and input gradients of the student's module, a list per rank of each."""
    cases = public().norm_cases([(value, cotangent)], sizes)
    run = sub.ranks(
        "driver:batch_norm", world=len(sizes), per_rank=cases, args=(1e-5, 0.1), wall=public().WALL
    )
    answers = public().replies(run, "outputs", "gradients")
    return [PerRank(answer[key][0] for answer in answers) for key in ("outputs", "gradients")]


def expect_normalised(outputs, value, sizes):
    """Fail where outputs have nothing to do with normalised inputs; with local statistics they do."""
    right = public().global_norm(value, value)[0].to(value.dtype)
    expect_related(outputs, public().split_rows(right, sizes), at_least=0.5, of="output", hint="")


@check(item="syncbn", points=0.5, hint="Weigh every rank by its number of samples; send the count along.")
def syncbn_weighs_uneven_batches(sub):
    """Local batches of different sizes, one sample on one rank: as where the same samples are spread evenly."""
    sizes = [1, 5, sub.rng.choice([8, 12]), 2]
    value = sub.rng.normal((sum(sizes), 11), **public().FAR)
    value[: sizes[0]] += 2.0  # the ranks see different distributions
    cotangent = sub.rng.normal(value.shape)
    uneven = normalised(sub, value, cotangent, sizes)
    expect_normalised(uneven[0], value, sizes)
    even = normalised(sub, value, cotangent, [sum(sizes) // 4] * 4)
    for name, one, two in zip(("output", "gradient"), uneven, even, strict=True):
        for shares in (one, two):
            expect(
                all(type(share) is torch.Tensor for share in shares), f"the {name} is no tensor on some rank"
            )
        why = f"yours on even batches; {public().FLOAT32_NORM}"
        expect_close(torch.cat(one), torch.cat(two), atol=1e-4, why=why, of=f"{name} of all ranks")


@check(
    item="syncbn", points=0.25, hint="E[x^2] - E[x]^2 cancels in float32: merge means and variances instead."
)
def syncbn_survives_a_large_mean(sub):
    """Channels with mean 2,000 and standard deviation 1 are normalised as others are."""
    value = sub.rng.normal((32, 6), mean=2000.0)
    right = public().global_norm(value, value)[0].float()
    outputs, _ = normalised(sub, value.repeat(4, 1), sub.rng.normal((4 * 32, 6)), [32] * 4)
    why = "float32 near 2000 has steps of 1.2e-4; E[x^2] - E[x]^2 is off by 0.1"
    expect_close(outputs, right, atol=2e-3, why=why, of="output")


@check(item="syncbn", points=0.25, hint="Reduce over all dimensions but the second. Keep the input's dtype.")
def syncbn_takes_other_shapes(sub):
    """3-D and 4-D inputs as 2-D ones with as many samples, float64, another eps, and world size 1."""
    for shape, sizes in (((10, 4, 7), [5, 5]), ((9, 3, 5, 4), [3, 3, 3])):
        value, cotangent = sub.rng.normal(shape, **public().FAR), sub.rng.normal(shape)
        places = value[0, 0].numel()
        flat = [one.flatten(2).transpose(1, 2).flatten(0, 1) for one in (value, cotangent)]
        whole = normalised(sub, value, cotangent, sizes)
        expect_normalised(whole[0], value, sizes)
        alone = normalised(sub, *flat, [size * places for size in sizes])
        for name, one, two in zip(("output", "gradient"), whole, alone, strict=True):
            expect(all(type(share) is torch.Tensor for share in two), f"the {name} is no tensor on some rank")
            samples = [
                share.unflatten(0, (size, places)).transpose(1, 2).reshape(size, *shape[1:])
                for share, size in zip(two, sizes, strict=True)
            ]
            why = f"yours on 2-D inputs; {public().FLOAT32_NORM}"
            public().expect_own(one, samples, atol=1e-4, why=why, of=f"{name}, {value.dim()}-D input,")
    # Variances near eps, so that another one shows.
    value = sub.rng.normal((12, 5), mean=1.0, std=0.05)
    cases = public().norm_cases([(value, value)], [12])
    run = sub.ranks("driver:batch_norm", world=1, per_rank=cases, args=(1e-3, 0.1), wall=public().WALL)
    (answer,) = public().replies(run, "outputs", "gradients")
    right = public().global_norm(value, value, 1e-3)[0].float()
    of = "output, one rank and eps 1e-3"
    expect_close(answer["outputs"][0], right, atol=1e-4, why=public().FLOAT32_NORM, of=of)
    value = sub.rng.normal((6, 5), mean=1.0).double()
    outputs, gradients = normalised(sub, value.repeat(2, 1), sub.rng.normal((12, 5)).double(), [6, 6])
    why = "float64, a module moved by .to(); eight digits are left to buffers kept in float32"
    expect_close(outputs, public().global_norm(value, value)[0], atol=1e-6, why=why, of="output in float64")
    for gradient in gradients:
        kind = str(getattr(gradient, "dtype", type(gradient).__name__))
        expect(kind == "torch.float64", "the gradient of a float64 input", yours=kind, spec="torch.float64")


@check(item="syncbn", points=0.25, hint="Save tensors in ctx, not in the module or in global variables.")
def syncbn_keeps_calls_apart(sub):
    """Two forward passes before one backward pass, and passes in training mode without gradients, as one by one."""
    shape, sizes = (12, 6), [6, 6]
    batches = [
        (sub.rng.normal(shape, mean=m, std=s), sub.rng.normal(shape)) for m, s in ((-9.0, 1.0), (9.0, 2.0))
    ]
    cases = public().norm_cases(batches, sizes)
    options = {"world": 2, "per_rank": cases, "wall": public().WALL}
    together = public().replies(sub.ranks("driver:batch_norm", **options), "outputs", "gradients")
    alone = public().replies(
        sub.ranks("driver:batch_norm_one_by_one", **options), "outputs", "gradients", "without_grad"
    )
    for number, (value, _) in enumerate(batches):
        expect_normalised([answer["outputs"][number] for answer in together], value, sizes)
        why = f"yours, one by one; {public().FLOAT32_NORM}"
        for key, of in (("outputs", "output"), ("gradients", "gradient")):
            here, there = ([answer[key][number] for answer in answers] for answers in (together, alone))
            public().expect_own(here, there, atol=1e-4, why=why, of=f"{of} of call {number + 1},")
        here, there = ([answer[key][number] for answer in alone] for key in ("without_grad", "outputs"))
        why = f"yours with gradients; {public().FLOAT32_NORM}"
        public().expect_own(here, there, atol=1e-4, why=why, of="output under no_grad")
    for answer in alone:
        for name, value in answer["statistics"].items():
            silent = answer["statistics_without_grad"].get(name)
            of = f"{name} after passes under no_grad"
            expect_close(silent, value, atol=1e-4, why="yours with gradients", of=of)


@check(
    item="syncbn",
    points=0.25,
    hint="Keep the statistics in registered buffers, so that state_dict has them.",
    accepts={"constant": "a copy is compared with its original; what it holds is other checks' matter"},
)
def syncbn_saves_and_loads_its_state(sub):
    """A module that loads the state_dict of a trained one has its statistics, and evaluates alike."""
    batches = [sub.rng.normal((6, 4), mean=3.0, std=2.0) for _ in range(2)]
    probe = sub.rng.normal((6, 4), mean=-2.0)
    cases = public().norm_cases(
        [(batch, batch) for batch in batches], [3, 3], probe=public().split_rows(probe, [3, 3])
    )
    run = sub.ranks(
        "driver:batch_norm_in_evaluation", world=2, per_rank=cases, args=(1e-4, 0.4), wall=public().WALL
    )
    for answer in public().replies(run, "outputs", "restored", "copy"):
        names = [name for name in ("running_mean", "running_var", "running_std") if name in answer]
        expect(
            "running_mean" in names and len(names) > 1,
            "running statistics are missing",
            yours=", ".join(names),
        )
        moved = float(answer["running_mean"].abs().max()) > 0.1
        expect(moved, "running_mean did not change in training, so that a copy of it shows nothing")
        for name in names:
            expect_close(
                answer["copy"].get(name), answer[name], atol=0, why="a copy", of=f"{name} after loading"
            )
        why = "the same numbers in the same order"
        expect_close(answer["restored"], answer["outputs"], atol=1e-6, why=why, of="evaluation of the copy")


@check(item="metrics", points=0.5, hint="Some shards may be empty. Evaluate in eval mode; restore the mode.")
def accuracy_of_awkward_data(sub):
    """Fewer rows than ranks, one row, one rank, and a model that arrives in training mode."""
    for rows, world in ((2, 4), (1, 3), (37, 1)):
        public().expect_accuracy(sub, rows, world, width=6, public=False)
    rows = 4 * sub.rng.integers(200, 500)
    public().expect_accuracy(sub, rows, 4, width=50, classes=3, training=True, public=False)


@check(
    item="accumulation",
    points=0.5,
    hint="Weigh every sample the same, whatever micro-batch and rank it is in.",
)
def accumulation_weighs_samples_alike(sub):
    """Micro-batches of different sizes and numbers, two steps, one rank, parameters without gradient."""
    public().expect_steps(sub, [[[5, 2, 7], [4], [3, 3]], [[1], [6, 2], [8]]], hidden=9, public=False)
    public().expect_steps(sub, [[[4, 3]], [[2, 5]]], hidden=9, unused=True, public=False)
    public().expect_steps(sub, [[[6, 1], [3]]], hidden=5, unused=True, public=False)
