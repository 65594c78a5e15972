"""Hidden checks of part 1: the same properties on other inputs. Never released.

Where a public check looks at values, these compare a student's answers with the student's own in a plain situation.
"""

import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from grader.checks import check, expect, expect_at_least, expect_close, expect_equal


def _load(name):
    """Return the names of another file of this folder."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(name))))


# Called when a check runs: at import, the public checks would be declared a second time, as hidden ones.
@cache
def public():
    return _load("part1_public.py")


@cache
def driver():
    return _load("part1_driver.py")


def expect_moved(report, of):
    """Fail where an optimizer made no step, or no gradient reached one: comparing would then show nothing."""
    velocities = [one for each in report["velocities"] for one in each if type(one) is torch.Tensor]
    expect(
        any(bool((one != 0).any()) for one in velocities), f"{of}: every gradient is zero, or there is none"
    )
    expect_equal(report["calls"], [1] * len(report["calls"]), of=f"{of}: calls of optimizer.step()")


@check(
    item="scaling",
    points=0.125,
    hint="grad is None for a parameter that took no part in the loss; an optimizer may have only such ones.",
)
def gradients_may_be_missing(sub):
    """Parameters without gradient, first or last in their group, and an optimizer without a single one."""
    scaler = public().settings("static", public().a_scale(sub))
    (groups,) = optimizers = [public().two_groups(sub)]
    for missing in (0, 3):
        step = public().a_step(sub, optimizers, unscale=bool(missing))
        step["slopes"][0][missing] = None
        (odd,) = public().play(sub, "static", scaler, optimizers, [step])
        expect_moved(odd, "one gradient is None")
        # The same without that parameter.
        rest = [
            {**groups[0], "params": groups[0]["params"][:]},
            {**groups[1], "params": groups[1]["params"][:]},
        ]
        del rest[missing // 2]["params"][missing % 2]
        plain = {**step, "slopes": [[slope for slope in step["slopes"][0] if slope is not None]]}
        (even,) = public().play(sub, "static", scaler, [rest], [plain])
        mine = list(public().parts(odd["weights"], 0) or [])
        expect(len(mine) == 4, "the driver's reply is damaged")
        still = mine.pop(missing)
        value = groups[missing // 2]["params"][missing % 2]
        expect_close(still, value, atol=0, why="no gradient", of="a parameter without gradient")
        for one, two in zip(mine, public().parts(even["weights"], 0) or [], strict=True):
            why = "yours where that parameter is not there"
            expect_close(one, two, atol=1e-6, why=why, of="the other parameters")
    empty = {"slopes": [[None] * 4, public().slopes_of(sub, optimizers)[0]], "unscale": [True, False]}
    (report,) = public().play(sub, "static", scaler, [groups, groups], [empty])
    expect_moved(report, "one of two optimizers has no gradient")


@check(
    item="scaling",
    points=0.125,
    hint="A sum or a norm of large numbers can be inf where none of them is.",
)
def large_numbers_are_no_overflow(sub):
    """Gradients of 1e36, whose sum and squares exceed float32: the step is made."""
    groups = [{"lr": 1e-30, "params": [sub.rng.normal((2000,)) for _ in range(3)]}]
    step = public().a_step(sub, [groups])
    sign = sub.rng.choice([1.0, -1.0])
    for slope in step["slopes"][0]:
        slope.abs_().add_(1.0).mul_(sign * 1e36 / slope.max())
    scaler = public().settings("static", 8.0)
    (report,) = public().play(sub, "static", scaler, [groups], [step])
    expect_moved(report, "gradients of 1e36")
    expect_equal(
        report["stepped"], [True], of="gradients of 1e36: what step() returns", hint=public().STEPPED
    )


@check(
    item="scaling",
    points=0.125,
    hint="Remember until update() for which optimizer unscale_ was called, and what it found.",
)
def unscale_comes_once(sub):
    """`unscale_` by hand and then `step` give what `step` alone gives; an overflow that is clamped still counts."""
    optimizers, scaler = [public().two_groups(sub)], public().settings("static", public().a_scale(sub))
    steps = [public().a_step(sub, optimizers) for _ in range(2)]
    alone = public().play(sub, "static", scaler, optimizers, steps)
    by_hand = public().play(sub, "static", scaler, optimizers, [{**one, "unscale": [True]} for one in steps])
    for number, (one, two) in enumerate(zip(by_hand, alone, strict=True), 1):
        expect_equal(one["calls"], [number], of="calls of optimizer.step()")
        pairs = zip(public().parts(one["weights"], 0), public().parts(two["weights"], 0), strict=True)
        for mine, plain in pairs:
            why = "yours with step() alone"
            expect_close(mine, plain, atol=1e-6, why=why, of="weights after unscale_ and step")
    clamped = [public().a_step(sub, optimizers, unscale=True, clamp=1.0) for _ in range(2)]
    public().overflow_everywhere(sub, clamped[1], 0)
    first, second = public().play(sub, "static", scaler, optimizers, clamped)
    expect_moved(first, "gradients clamped after unscale_")
    # What step() says: that it does what it says is another check's matter.
    of = "what step() returns where an overflow is clamped between unscale_ and step"
    expect_equal(second["stepped"], [False], of=of)


@check(
    item="scaling",
    points=0.125,
    hint="The statement lists the three calls that raise RuntimeError; update() begins anew.",
    accepts=dict.fromkeys(
        ("zeros", "constant"), "no number is compared; which calls raise is all that is asked"
    ),
)
def calls_out_of_order_are_refused(sub):
    """Unscaled twice, unscaled after the step, two steps: a RuntimeError; after update() all is as before."""
    optimizers, scaler = [public().two_groups(sub)], public().settings("static", public().a_scale(sub))
    case = {"kind": "static", "settings": scaler, "optimizers": optimizers}
    found = sub.call("driver:misuse", case, wall=public().WALL).result
    expect(type(found) is dict and len(found) == 4, "the driver's reply is damaged")
    for name, ended in found.items():
        right = None if "update" in name else "RuntimeError"
        expect_equal(ended, right, of=f"{name}: what it raises")


@check(
    item="dynamic",
    points=0.125,
    hint="Keep what was found per optimizer: each skips for its own overflow, the scale backs off for any.",
)
def optimizers_answer_for_themselves(sub):
    """Of two optimizers the first overflows, then the second, then both: who steps, and one backoff each time."""
    optimizers = [public().two_groups(sub), public().two_groups(sub)]
    overflows = [(False, False), (True, False), (False, True), (True, True), (False, False)]
    steps = []
    for pair in overflows:
        step = public().a_step(sub, optimizers)
        steps.append(step)
        for index in (0, 1):
            if pair[index]:
                public().overflow_everywhere(sub, step, index)
    scale = public().a_scale(sub)
    scaler = public().settings("dynamic", scale, backoff_factor=0.5)
    found = public().play(sub, "dynamic", scaler, optimizers, steps)
    for pair, report in zip(overflows, found, strict=True):
        told = f"overflows (optimizer 1, optimizer 2) = {pair}"
        expect_equal(report["stepped"], [not one for one in pair], of=f"{told}: what step() returns")
        now = report["scale"]
        if any(pair):
            expect_close(now, scale / 2, atol=1e-4 * scale, why="one backoff", of=f"{told}: the scale")
        # A number by now; without an overflow, its growth is another check's matter.
        scale = now


@check(
    item="dynamic",
    points=0.125,
    hint="The count of iterations without an overflow belongs to the state, and so do the settings.",
)
def a_loaded_state_goes_on(sub):
    """A scaler with other settings loads the state: it goes on as the first one would, count and factors included."""
    optimizers = [public().two_groups(sub)]
    interval, init = 5, public().a_scale(sub)
    options = {"growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": interval}
    # A growth, and then so many iterations that the next one is due soon, without one overflow: what a scaler makes
    # of those is another check's matter.
    before = interval + sub.rng.integers(2, 4)
    case = {
        "kind": "dynamic",
        "settings": {"init_scale": init, **options},
        "other": {"init_scale": 7.0, "growth_interval": 2},
        "optimizers": optimizers,
        "steps": [public().a_step(sub, optimizers) for _ in range(before)],
        "meanwhile": [public().a_step(sub, optimizers) for _ in range(2)],
        "rest": [public().a_step(sub, optimizers) for _ in range(interval)],
    }
    found = sub.call("driver:play_and_load", case, wall=public().WALL).result
    expect(
        type(found) is dict and {"before", "begins", "after"} <= found.keys(), "the driver's reply is damaged"
    )
    first = public().reports(found["before"], before)
    expect(first[-1]["scale"] > init, "the scale did not grow, so that a copy of it shows nothing")
    expect_equal(found["begins"], first[-1]["scale"], of="the scale after loading")
    whole = {**case, "steps": case["steps"] + case["rest"]}
    on = public().play(sub, "dynamic", whole["settings"], optimizers, whole["steps"])[before:]
    for number, (mine, plain) in enumerate(
        zip(public().reports(found["after"], interval), on, strict=True), 1
    ):
        of = f"the scale {number} iterations after loading"
        expect_close(mine["scale"], plain["scale"], atol=1e-3, why="yours without saving and loading", of=of)


def expect_accuracy(sub, seed, steps, runs):
    """Compare the accuracy of models that the worker trained with that of float32; `runs` are (how, call's run)."""
    images, masks = driver().ellipses(300, sub.rng.integers(2_000_000_000, 4_000_000_000))
    right = driver().accuracy(driver().train(plain_step, seed, steps, half=False), images, masks)
    for how, run in runs:
        model = driver().Segmenter(half=False)
        weights = run.result.get("weights") if type(run.result) is dict else None
        shapes = [one.shape for one in model.parameters()]
        expect(
            type(weights) is list and [getattr(one, "shape", None) for one in weights] == shapes,
            "the driver's reply is damaged",
        )
        with torch.no_grad():
            for mine, value in zip(model.parameters(), weights, strict=True):
                mine.copy_(value)
        mine = driver().accuracy(model, images, masks)
        sub.note(f"accuracy in float32, and {how}", f"{right:.4f}, {mine:.4f}")
        # Honest runs come within 0.02 of it. A model that learned nothing calls all pixels outside, as 82 % are.
        expect_at_least(mine, right - 0.05, of=f"accuracy {how}")


def plain_step(model, loss_fn, images, masks, optimizer):
    """One step in float32, without a scaler."""
    optimizer.zero_grad()
    loss_fn(model(images), masks).backward()
    optimizer.step()


STEPS = 100
ROUNDED = (
    "gradients become float16 by hooks in the worker; accuracy is measured outside, on images it never sees"
)


@check(
    item="dynamic",
    points=0.125,
    wall=120,
    hint="Does it skip a step whose loss is finite and whose gradients are not? Does it go down from 2^40?",
    forgeable=ROUNDED,
)
def the_scale_finds_itself(sub):
    """Ellipses are found as well with float16 gradients as in float32, from a scale of 1 and from one of 2^40."""
    seed, runs = sub.rng.integers(0, 1_000_000_000), []
    for options in (
        {"init_scale": 1.0, "growth_factor": 4.0, "growth_interval": 3},
        {"init_scale": 2.0**40, "growth_interval": 20},
    ):
        run = sub.call("driver:segmentation", seed, STEPS, options, wall=60)
        runs.append((f"from a scale of {options['init_scale']:g}", run))
    expect_accuracy(sub, seed, STEPS, runs)


@check(
    item="training",
    points=0.25,
    wall=120,
    hint="Does the backward pass begin at the scaled loss, and does a step go through the scaler?",
    forgeable=ROUNDED,
)
def training_reaches_float32(sub):
    """Ellipses are found as well with float16 gradients and PyTorch's scaler as in float32."""
    seed, scale = sub.rng.integers(0, 1_000_000_000), 2.0 ** sub.rng.integers(14, 20)
    run = sub.call("driver:segmentation_with_torch", seed, STEPS, scale, wall=60)
    expect_accuracy(sub, seed, STEPS, [(f"with a scale of {scale:g}", run)])
