"""Public checks of part 1. The hidden ones call the same procedures with other inputs."""

import itertools
import math

import torch

from grader.checks import check, expect, expect_close, expect_equal

# Seconds for one run, only to end what hangs; longer where the machine is slow. An honest one takes under one second.
WALL = 20
FOR_LONG = 1000  # iterations, more than any script plays: a dynamic scale does not grow


def settings(kind, scale, **others):
    """Return what a scaler of this kind is made with; without `others` its scale stays as it is."""
    if kind == "static":
        return {"init_scale": scale}
    return {"init_scale": scale, "growth_interval": FOR_LONG, **others}


def a_scale(sub):
    """Return a scale that is no power of two: between 100 and 1000."""
    return float(sub.rng.integers(100, 1000)) + 0.25


def two_groups(sub):
    """Return the groups of one optimizer: two, with learning rates and sizes of their own."""
    shapes = [[(3,), (2, 4)], [(5,), (1,)]]
    return [
        {"lr": lr, "params": [sub.rng.normal(shape) for shape in each]}
        for lr, each in zip((0.1, 0.02), shapes, strict=True)
    ]


def slopes_of(sub, optimizers):
    """Return a random slope for every parameter of every optimizer."""
    return [
        [sub.rng.normal(value.shape) for group in groups for value in group["params"]]
        for groups in optimizers
    ]


def a_step(sub, optimizers, unscale=False, **others):
    """Return a step of a script with random slopes."""
    step = {"slopes": slopes_of(sub, optimizers), "unscale": [unscale] * len(optimizers)}
    return {**step, **others}


def spoilt(sub, step, optimizer, parameter, value):
    """Return the step with one element of one parameter's slope replaced by `value`."""
    slope = step["slopes"][optimizer][parameter]
    slope.view(-1)[sub.rng.integers(0, slope.numel())] = value
    return step


def overflow_everywhere(sub, step, optimizer):
    """Return the step with inf and NaN in every slope of an optimizer, so that nobody overlooks them."""
    for place, slope in enumerate(step["slopes"][optimizer]):
        slope.view(-1)[:] = math.inf
        if slope.numel() > 1 or place % 2:
            slope.view(-1)[sub.rng.integers(0, slope.numel())] = math.nan
    return step


def play(sub, kind, scaler, optimizers, steps):
    """Play a script with the student's scaler; return the report of each step, after a look at its form."""
    case = {"kind": kind, "settings": scaler, "optimizers": optimizers, "steps": steps}
    return reports(sub.call("driver:play", case, wall=WALL).result, len(steps))


def reports(found, count):
    """Return the reports of so many steps, after a look at their form."""
    keys = (
        "raw",
        "unscaled",
        "in_place",
        "loss",
        "stepped",
        "scale",
        "calls",
        "weights",
        "velocities",
        "counts",
    )
    expect(
        type(found) is list
        and len(found) == count
        and all(type(one) is dict and all(key in one for key in keys) for one in found),
        "the driver's reply is damaged",
    )
    for one in found:
        expect(type(one["scale"]) in (int, float), "get_scale() returns no number")
    return found


def replay(optimizers, steps):
    """Return the weights of the first optimizer after each step without any scaling, in float64."""
    rates = [group["lr"] for group in optimizers[0] for _ in group["params"]]
    weights = [value.double() for group in optimizers[0] for value in group["params"]]
    velocities = [torch.zeros_like(value) for value in weights]
    after = []
    for step in steps:
        slopes = [slope.double() for slope in step["slopes"][0]]
        velocities = [0.9 * velocity + slope for velocity, slope in zip(velocities, slopes, strict=True)]
        weights = [
            value - rate * velocity for value, rate, velocity in zip(weights, rates, velocities, strict=True)
        ]
        after.append(weights)
    return after


STEPPED = "step returns True where it has called optimizer.step(), and False where it has not."
FLOAT32 = "a few float32 operations on numbers near 1: their rounding adds up to less than 1e-6"


@check(
    item="scaling",
    points=0.25,
    hint="optimizer.param_groups is a list; all parameters of all of its groups are unscaled, in place.",
    forgeable="that torch.amp.GradScaler does not do the work, only the process itself can tell",
)
def gradients_are_those_without_scaling(sub):
    """Gradients leave `backward` times the scale and `unscale_` without it; weights are those without scaling."""
    scale, optimizers = a_scale(sub), [two_groups(sub)]
    steps = [a_step(sub, optimizers) for _ in range(3)]
    # By hand, to look at them: what comes of the step afterwards is another check's matter.
    (report,) = play(sub, "static", settings("static", scale), optimizers, [{**steps[0], "unscale": [True]}])
    for place, slope in enumerate(steps[0]["slopes"][0]):
        raw, mine = (parts(report[name], 0, place) for name in ("raw", "unscaled"))
        of = f"parameter {place + 1}: gradient after backward()"
        hint = (
            "backward() begins at scale(loss), which is the loss times the number that get_scale() returns."
        )
        expect_close(raw, slope * scale, atol=0.01, why="float32 below 5000: 5e-4", of=of, hint=hint)
        of = f"parameter {place + 1}: gradient after unscale_"
        expect_close(mine, slope, atol=1e-5, why=FLOAT32, of=of)
        of = f"parameter {place + 1}: whether unscale_ divides in place"
        hint = "Others hold the same tensor, a bucket of DistributedDataParallel say: change it, do not replace it."
        expect_equal(parts(report["in_place"], 0, place), True, of=of, hint=hint)
    before, after = (parts(report["loss"], index) for index in (0, 1))
    hint = "The loss is printed, and returned, after it was scaled: make a new tensor."
    expect_equal(after, before, of="the loss after scale(loss)", hint=hint)
    found = play(sub, "static", settings("static", scale), optimizers, steps)
    for number, (report, right) in enumerate(zip(found, replay(optimizers, steps), strict=True), 1):
        for place, expected in enumerate(right):
            of = f"step {number}: parameter {place + 1}"
            mine = parts(report["weights"], 0, place)
            expect_close(mine, expected.float(), atol=1e-5, why=FLOAT32, of=of)
        expect_equal(report["stepped"], [True], of=f"step {number}: what step() returns", hint=STEPPED)


def parts(value, *indices):
    """Return `value[i][j]...`, None where a reply is damaged."""
    for index in indices:
        value = value[index] if type(value) is list and index < len(value) else None
    return value


def expect_unchanged(now, before, optimizer, of):
    """Fail where weights, velocities, counts or calls of an optimizer differ between two reports."""
    for name in ("calls", "counts", "velocities", "weights"):
        mine, old = parts(now[name], optimizer), parts(before[name], optimizer)
        told = {"calls": "calls of optimizer.step()", "counts": "steps in the optimizer's state"}.get(
            name, name
        )
        if name == "calls":
            # How many in this step: totals would say less.
            made = mine - old if type(mine) is type(old) is int else mine
            expect_equal(made, 0, of=f"{of}: {told}")
        elif name == "counts":
            expect_equal(mine, old, of=f"{of}: {told}")
        else:
            expect(
                type(mine) is list
                and len(mine) == len(old)
                and all(type(one) is torch.Tensor for one in (*mine, *old)),
                "the driver's reply is damaged",
            )
            for one, two in zip(mine, old, strict=True):
                expect_close(one, two, atol=0, why="nothing happens to them", of=f"{of}: {told}")


@check(
    item="scaling",
    points=0.25,
    hint="Find out before optimizer.step() whether it may run: it changes its own state, not the weights alone. "
    "Look at every gradient of every group, for NaN too.",
)
def an_overflow_skips_the_step(sub):
    """An inf, -inf or NaN anywhere: weights, velocities and counts of steps stay; the next step is as ever."""
    scale, optimizers = a_scale(sub), [two_groups(sub)]
    steps = [a_step(sub, optimizers) for _ in range(9)]
    # Every parameter overflows once, in the order of chance, with steps that do not in between.
    values = [math.inf, -math.inf, math.nan, sub.rng.choice([math.inf, math.nan])]
    for number, (place, value) in enumerate(zip(sub.rng.permutation(4).tolist(), values, strict=True)):
        spoilt(sub, steps[2 * number + 1], 0, place, value)
    found = play(sub, "static", settings("static", scale, backoff_factor=0.5), optimizers, steps)
    for number, (before, now) in enumerate(itertools.pairwise(found), 1):
        if number % 2:
            ((place, value),) = (
                (place, value)
                for place, slope in enumerate(steps[number]["slopes"][0], 1)
                for value in slope.flatten().tolist()
                if not math.isfinite(value)
            )
            of = f"a step with {value} in the gradient of parameter {place}"
            expect_unchanged(now, before, 0, of)
            expect_equal(now["stepped"], [False], of=f"{of}: what step() returns", hint=STEPPED)
        else:
            of = "a step after an overflow"
            expect_equal(now["calls"], [parts(before["calls"], 0) + 1], of=f"{of}: calls of optimizer.step()")
            expect_equal(now["stepped"], [True], of=f"{of}: what step() returns", hint=STEPPED)
    # That the numbers are right is another check's matter.


def scales(init, growth, backoff, interval, overflows):
    """Return the scale after each iteration of a dynamic scaler."""
    scale, good, after = init, 0, []
    for overflowed in overflows:
        good = 0 if overflowed else good + 1
        if overflowed:
            scale *= backoff
        elif good == interval:
            scale, good = scale * growth, 0
        after.append(scale)
    return after


def scripted(sub, overflows, optimizers):
    """Return steps with an overflow of every gradient where `overflows` says so."""
    steps = [a_step(sub, optimizers) for _ in overflows]
    return [
        overflow_everywhere(sub, step, 0) if overflowed else step
        for step, overflowed in zip(steps, overflows, strict=True)
    ]


@check(
    item="dynamic",
    points=0.125,
    hint="After an overflow: times backoff_factor, and the count begins again at zero. After growth_interval "
    "iterations in a row without one: times growth_factor, and the count too. Look before you forget.",
)
def the_scale_grows_and_backs_off(sub):
    """The scale after each of 40 iterations, some of which overflow; factors and interval drawn at random."""
    interval = sub.rng.choice([3, 4])
    # Never the usual factors, or whoever writes these as numbers passes; and down to below 1.
    growth, backoff = sub.rng.choice([1.5, 3.0]), sub.rng.choice([0.25, 0.125])
    init, optimizers = a_scale(sub) / 100, [two_groups(sub)]
    # Two growths in a row; an overflow one iteration before a growth is due; two overflows in a row; then by chance.
    overflows = [False] * (2 * interval) + [False] * (interval - 1) + [True] + [False] * interval + [True] * 2
    overflows += [bool(sub.rng.integers(0, 5) == 0) for _ in range(40 - len(overflows))]
    options = {"growth_factor": growth, "backoff_factor": backoff, "growth_interval": interval}
    found = play(
        sub, "dynamic", settings("dynamic", init, **options), optimizers, scripted(sub, overflows, optimizers)
    )
    right = scales(init, growth, backoff, interval, overflows)
    for number, (report, expected) in enumerate(zip(found, right, strict=True), 1):
        expect_close(
            report["scale"],
            expected,
            atol=1e-5 * expected,
            why="a scale in float32 is off by 2e-6 after 40 factors",
            of=f"growth {growth}, backoff {backoff}, interval {interval}, overflows in "
            f"{[place for place, one in enumerate(overflows[:number], 1) if one]}: scale after {number} iterations",
        )


# --- training_step ----------------------------------------------------------------------------------------------


def replay_training(case):
    """Return weights after all batches, the loss of each, and the norms, in float64 without scaling."""
    first, second = (value.double().requires_grad_() for value in case["weights"])
    velocities = [torch.zeros_like(first), torch.zeros_like(second)]
    losses, norms = [], []
    for inputs, targets in case["batches"]:
        loss = ((inputs.double() @ first.t()).tanh() @ second.t() - targets.double()).square().mean()
        gradients = torch.autograd.grad(loss, (first, second))
        norm = math.sqrt(sum(float(one.square().sum()) for one in gradients))
        factor = min(1.0, case["options"].get("max_norm", math.inf) / norm)
        with torch.no_grad():
            for value, velocity, gradient in zip((first, second), velocities, gradients, strict=True):
                velocity.mul_(0.9).add_(factor * gradient)
                value.sub_(case["lr"] * velocity)
        losses.append(loss.item())
        norms.append(norm)
    return [first.detach().float(), second.detach().float()], losses, norms


@check(
    item="training",
    points=0.25,
    hint="zero_grad, scale, backward, unscale_, clip, step, update. Only unscaled gradients have the norm that is "
    "meant. Longer ones are shortened, all together; others stay. The loss that is returned is not scaled.",
)
def training_steps_are_those_without_scaling(sub):
    """Weights and losses of four steps, clipped or not, are those of float32 without a scaler.

    The scaler here is PyTorch's, on the CPU, with a growth after every step. Gradients lie there from earlier.
    """
    for bound in ("no max_norm", "a max_norm that clips", "a max_norm that no gradient reaches"):
        rows, width = sub.rng.integers(5, 9), sub.rng.integers(3, 6)
        case = {
            "weights": [sub.rng.normal((7, width)), sub.rng.normal((2, 7))],
            "batches": [(sub.rng.normal((rows, width)), 3 * sub.rng.normal((rows, 2))) for _ in range(4)],
            "lr": 0.2,
            # Small: of what an earlier step left behind, a step adds the part that is one by the scale.
            "scale": 2.0 ** sub.rng.integers(2, 6),
            "options": {},
        }
        if "clips" in bound:
            # Half of the first norm: the gradients of the first step at least are clipped.
            case["options"] = {"max_norm": replay_training(case)[2][0] / 2}
        elif "reaches" in bound:
            case["options"] = {"max_norm": 2 * max(replay_training(case)[2])}
        weights, losses, _ = replay_training(case)
        found = sub.call("driver:steps_with_torch", case, wall=WALL).result
        expect(
            type(found) is dict and type(found.get("losses")) is list and type(found.get("weights")) is list,
            "the driver's reply is damaged",
        )
        of = f"with {bound}"
        expect_equal(
            found.get("scales"),
            [case["scale"] * 2.0**power for power in range(1, 5)],
            of=f"{of}: the scale after each step, which update() doubles",
        )
        for number, expected in enumerate(losses):
            mine = parts(found["losses"], number)
            expect(type(mine) is float, f"{of}: the loss is no number", yours=type(mine).__name__)
            expect_close(mine, expected, atol=1e-3, why=WITH_EPSILON, of=f"{of}: loss of step {number + 1}")
        for number, expected in enumerate(weights):
            mine = parts(found["weights"], number)
            expect_close(
                mine, expected, atol=1e-3, why=WITH_EPSILON, of=f"{of}: weights of layer {number + 1}"
            )


WITH_EPSILON = (
    "clip_grad_norm_ adds 1e-6 to the norm, a millionth; scaled gradients would be off by more than 0.01"
)
