"""Hidden checks of part 2: the procedures of the public checks on the cases where solutions differ."""

import runpy
import secrets
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from grader.checks import PerRank, check, expect_close, expect_lines


def _load_public():
    """Return the names of the public file."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part2_public.py"))))


# Called when a check runs: at import, the public checks would be declared a second time, as hidden ones.
public = cache(_load_public)


@check(item="sequential_print", points=0.25, hint="With one rank there is nobody to wait for.")
def prints_alone(sub):
    """World size 1, and a single iteration: no rank to wait for, no separator."""
    for world, num_iter in ((1, 3), (3, 1)):
        run = public().print_with_delays(sub, world, num_iter)
        expect_lines(run.stdout, public().expected_lines(world, num_iter), of="the shared standard output")


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
    expect_lines(named(run.stdout, marks), own_lines(world, num_iter), of="the shared standard output")


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
        public().expect_mean(sub, cases, atol=1e-5, why=public().FLOAT32_MEAN)
    for size in (1, 2):
        cases = [sub.rng.normal((size, 7)), sub.rng.normal((size, 1))]
        public().expect_mean(sub, cases, atol=1e-5, why=public().FLOAT32_MEAN)


@check(item="ring", points=0.25, hint="Make buffers with the dtype of the tensor.")
def ring_keeps_float64(sub):
    """A float64 tensor is averaged in float64."""
    case = sub.rng.normal((4, 1001), mean=1.0).double()
    case += 1e-9 * sub.rng.normal((4, 1001)).double()
    why = "float64 mean of numbers near 1: 1e-15; a float32 buffer loses 1e-8"
    public().expect_mean(sub, [case], atol=1e-12, why=why)


@check(item="ring", points=0.5, hint="view(-1) needs contiguous memory and reshape(-1) may copy: copy back.")
def ring_respects_the_layout(sub):
    """2-D tensors, views with strides (memory around them untouched), and several calls in a row."""
    ways = [("transposed", (4, 30, 21)), ("every second", (4, 101)), ("left columns", (4, 12, 5))]
    for layout, shape in ways:
        case = sub.rng.normal(shape)
        run = sub.ranks(
            "driver:ring_on_a_view", world=4, per_rank=list(case), args=(layout,), wall=public().WALL
        )
        answers = public().replies(run, "view", "around")
        views = PerRank(answer["view"] for answer in answers)
        expect_close(views, case.mean(0), atol=1e-5, why=public().FLOAT32_MEAN, of=f"view, {layout}")
        around = [answer["around"] for answer in answers]
        expect_close(
            around, [value * 0 for value in around], atol=0, why="not part of the tensor", of="the rest"
        )
    cases = [sub.rng.normal((4, 9, 13)), sub.rng.normal((4, 9, 13)), sub.rng.normal((4, 3, 4, 5))]
    public().expect_mean(sub, cases, atol=1e-5, why=public().FLOAT32_MEAN)


@check(item="syncbn", points=0.5, hint="Weigh every rank by its number of samples; send the count along.")
def syncbn_weighs_uneven_batches(sub):
    """Local batches of different sizes, one sample on one rank: every sample counts the same."""
    sizes = [1, 5, sub.rng.integers(6, 12), 2]
    shape = (sum(sizes), 11)
    value = sub.rng.normal(shape)
    value[: sizes[0]] += 2.0  # the ranks see different distributions
    batches = [(value, sub.rng.normal(shape))]
    public().expect_norm(sub, batches, sizes, atol=1e-4, grad_atol=1e-4, why=public().FLOAT32_NORM)


@check(
    item="syncbn", points=0.25, hint="E[x^2] - E[x]^2 cancels in float32: merge means and variances instead."
)
def syncbn_survives_a_large_mean(sub):
    """Channels with mean 2,000 and standard deviation 1 are normalised as others are."""
    shape = (4 * 32, 6)
    batches = [(sub.rng.normal(shape, mean=2000.0), sub.rng.normal(shape))]
    why = "float32 near 2000 has steps of 1.2e-4; E[x^2] - E[x]^2 is off by 0.1"
    public().expect_norm(sub, batches, [32] * 4, atol=2e-3, grad_atol=2e-3, why=why)


@check(item="syncbn", points=0.25, hint="Reduce over all dimensions but the second. Keep the input's dtype.")
def syncbn_takes_other_shapes(sub):
    """3-D and 4-D inputs, float64, another eps, and world size 1."""
    for shape, sizes in (((10, 4, 7), [6, 4]), ((9, 3, 5, 4), [2, 4, 3]), ((12, 5), [12])):
        batches = [(sub.rng.normal(shape, mean=1.0), sub.rng.normal(shape))]
        public().expect_norm(
            sub, batches, sizes, atol=1e-4, grad_atol=1e-4, why=public().FLOAT32_NORM, eps=1e-3
        )
    batches = [(sub.rng.normal((12, 5)).double(), sub.rng.normal((12, 5)).double())]
    why = "float64, a module moved by .to(); eight digits are left to buffers kept in float32"
    public().expect_norm(sub, batches, [7, 5], atol=1e-6, grad_atol=1e-6, why=why)


@check(item="syncbn", points=0.25, hint="Save tensors in ctx, not in the module or in global variables.")
def syncbn_keeps_calls_apart(sub):
    """Two forward passes before one backward pass; and a forward pass in training mode without gradients."""
    shape, sizes = (12, 6), [5, 7]
    batches = [
        (sub.rng.normal(shape, mean=m, std=s), sub.rng.normal(shape)) for m, s in ((0.0, 1.0), (3.0, 2.0))
    ]
    public().expect_norm(sub, batches, sizes, atol=1e-4, grad_atol=1e-4, why=public().FLOAT32_NORM)
    cases = public().norm_cases(batches, sizes)
    run = sub.ranks("driver:batch_norm_without_grad", world=2, per_rank=cases, wall=public().WALL)
    answers = public().replies(run, "outputs")
    for number, (value, cotangent) in enumerate(batches):
        shares = public().split_rows(public().global_norm(value, cotangent)[0].float(), sizes)
        outputs = [answer["outputs"][number] for answer in answers]
        expect_close(outputs, shares, atol=1e-4, why=public().FLOAT32_NORM, of="outputs under no_grad")
    for answer in answers:
        public().expect_statistics(answer, [value for value, _ in batches], 0.1)


@check(
    item="syncbn", points=0.25, hint="Keep the statistics in registered buffers, so that state_dict has them."
)
def syncbn_saves_and_loads_its_state(sub):
    """A module that loads another's state_dict evaluates alike (4-D, uneven batches)."""
    sizes = [2, 1]
    batches = [sub.rng.normal((3, 4, 2, 1), mean=1.0, std=2.0) for _ in range(2)]
    probe = sub.rng.normal((3, 4, 2, 1), mean=-2.0)
    public().expect_evaluation(sub, batches, sizes, probe, key="restored", momentum=0.4, eps=1e-4)


@check(item="metrics", points=0.5, hint="Some shards may be empty. Evaluate in eval mode; restore the mode.")
def accuracy_of_awkward_data(sub):
    """Fewer rows than ranks, one row, one rank, and a model that arrives in training mode."""
    for rows, world in ((2, 4), (1, 3), (37, 1)):
        public().expect_accuracy(sub, rows, world, width=6, measure=False)
    public().expect_accuracy(sub, 4 * sub.rng.integers(200, 500) + 3, 4, width=50, classes=3, training=True)


@check(
    item="accumulation",
    points=0.5,
    hint="Weigh every sample the same, whatever micro-batch and rank it is in.",
)
def accumulation_weighs_samples_alike(sub):
    """Micro-batches of different sizes and numbers, two steps, one rank, parameters without gradient."""
    public().expect_steps(sub, [[[5, 2, 7], [4], [3, 3]], [[1], [6, 2], [8]]], hidden=9)
    public().expect_steps(sub, [[[4, 3]], [[2, 5]]], hidden=9, unused=True)
    public().expect_steps(sub, [[[6, 1], [3]]], hidden=5, unused=True)
