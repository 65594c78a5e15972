"""Hidden checks of part 3: the same properties on other inputs. Never released."""

import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from grader.checks import check, expect, expect_close, expect_equal, expect_related


@cache
def public():
    """Return the names of the public file; at import its checks would be declared a second time, as hidden ones."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part3_public.py"))))


# --- int8 -------------------------------------------------------------------------------------------------------


@check(
    item="int8",
    points=0.1,
    hint="A half goes to the even neighbour, as in torch.round; a row of zeros has scale 1.",
)
def ties_and_rows_of_zeros(sub):
    """Numbers exactly in the middle between two codes, rows of zeros, and a row with one number that is not."""
    # The largest is 127 powers of two, so that the scale is exact, and so are the halves.
    halves = sub.rng.integers(-126, 126, (8, 60)) + 0.5
    halves[:, 7] = 127.0
    rows = (halves * 2.0 ** torch.arange(-3, 5)[:, None]).float()
    rows[2] = rows[5] = 0
    rows[6, :40] = rows[6, 41:] = 0
    rows[6, 40] = float(sub.rng.uniform(0.1, 5, ()))
    found = sub.call("driver:quantized", rows, wall=public().WALL).result
    codes, scales = public().listed(found, 2, "the reply")
    public().expect_tensor(scales, (8,), torch.float32, "scales")
    for row in (2, 5):
        above = bool(scales[row] > 0)
        expect(above, "the scale of a row of zeros is not 1", yours=float(scales[row]), spec="1")
    # By the student's own scales: what is wrong with these, a public check has charged.
    right = (rows.double() / scales.double()[:, None]).round().clamp(-128, 127).to(torch.int8)
    expect_equal(codes, right, of="halves and zeros: codes")


@check(
    item="int8",
    points=0.15,
    hint="reshape copies where it must; view raises. What is written in place, the caller has too.",
)
def inputs_lie_anyhow(sub):
    """Inputs [2, 3, 5, k] without a bias, transposed and with gaps in memory: the same, and they stay as they are."""
    for layout in ("transposed", "every second"):
        shape = (2, 3, 5, 40 + sub.rng.integers(0, 9))
        public().expect_linear(sub, shape, 11, layout, with_bias=False, of=f"outputs, inputs {layout}")


# --- gptq -------------------------------------------------------------------------------------------------------


@check(
    item="gptq",
    points=0.15,
    hint="Damping is relative to the mean of the diagonal. It is what makes a matrix with an empty row invertible.",
)
def few_inputs_and_dead_columns(sub):
    """96 inputs for 128 columns, eight of which are always 0, all of size 1e-3: at most 0.8 of the error."""
    weight, draw = sub.rng.normal((64, 128)), public().correlated(sub, 128)
    alive = torch.full((128,), 1e-3)
    alive[sub.rng.permutation(128)[:8]] = 0
    inputs, fresh = draw(96) * alive, draw(2048) * alive
    public().expect_error_falls(sub, weight, inputs, fresh, 4, 32, 0.8, "few inputs, dead columns")


@check(
    item="gptq",
    points=0.1,
    hint="Bits and group are arguments; the scale is that of the group's own columns.",
)
def other_grids(sub):
    """3 bits with one group; 6 bits with groups of 16 and columns of different size: at most half of the error."""
    for bits, group in ((3, 96), (6, 16)):
        weight, draw = sub.rng.normal((40, 96)), public().correlated(sub, 96)
        if group < 96:
            weight = weight * 30.0 ** -(torch.arange(96) // group % 2)
        of = f"{bits} bits, groups of {group}"
        public().expect_error_falls(sub, weight, draw(512), draw(2048), bits, group, 0.5, of)


# --- rotation ---------------------------------------------------------------------------------------------------


@check(
    item="rotation",
    points=0.1,
    wall=60,
    hint="",
    waiting="n log n additions; no matrix, and no loop over numbers.",
)
def long_vectors_are_cheap(sub):
    """A vector of 2^20 numbers, float32, in 8 s: a matrix of that size would have 4 TB."""
    x, places = torch.zeros(1 << 20), sub.rng.permutation(1 << 20)[:4]
    x[places] = sub.rng.uniform(500, 2000, (4,))
    ((found,), _) = public().transforms_of(sub, [x], wall=8)
    public().expect_tensor(found, x.shape, torch.float32, "transform of 2^20 numbers")
    # Sorted: factors and the order of rows cost points where values are compared.
    of = "transform of 2^20 numbers, sorted"
    expect_related(found.sort().values, public().hadamard(x).sort().values, at_least=0.99, of=of)


@check(
    item="rotation",
    points=0.1,
    hint="The hidden vector becomes hadamard(signs * hidden): the signs come first, in all three.",
)
def signs_come_first(sub):
    """The hidden vector is your own hadamard(signs * hidden), weights lie anyhow and stay; 12, 48: ValueError."""
    *_, turned, reply, arguments = public().expect_rotated(sub, (9, 64, 7), "transposed")
    right = public().expect_tensor(reply["hidden"], turned.shape, torch.float64, "hadamard(signs * hidden)")
    expect(bool((right.norm(dim=-1) > 0).all()), "hadamard(signs * hidden) is zero")
    of = "hidden vector after the rotation, without its bias"
    expect_close(turned / 60, right / 60, atol=1e-9, why="float64", of=of)
    names = ("first", "bias", "second", "signs")
    kept = public().listed(reply["arguments"], 4, "arguments")
    for name, before, after in zip(names, arguments, kept, strict=True):
        expect_equal(after, before, of=f"{name} after the call", hint="Copy what you change.")
    refused = [sub.rng.normal((2, 12)), sub.rng.normal((48,))]
    found, _ = public().transforms_of(sub, refused)
    for x, mine in zip(refused, found, strict=True):
        same = type(mine) is str and mine == "ValueError"
        expect(same, f"no ValueError for {x.shape[-1]} numbers", spec="ValueError", hint="")


# --- pruning ----------------------------------------------------------------------------------------------------


def line_of(layers):
    """Return (layer, channel) of all channels, the one that matters least first."""
    line = [
        (abs(scale), number, channel)
        for number, layer in enumerate(layers)
        if layer["kind"] == "conv"
        for channel, scale in enumerate(layer["scale"].tolist())
    ]
    return [(number, channel) for _, number, channel in sorted(line)]


def macs_of(widths, side, inputs, outputs):
    """Return the MACs of 3 x 3 convolutions of these widths from `side` x `side` pixels on, and a linear layer."""
    total = 0
    for before, after in zip([inputs, *widths], widths, strict=False):
        side -= 2
        total += 9 * side * side * before * after
    return total + widths[-1] * side * side * outputs


def right_channels(layers, budget, least, count):
    """Return what stays under the rule, and the MACs of it."""
    kept = {number: list(range(len(layer["scale"]))) for number, layer in enumerate(layers[:-1])}
    for number, channel in line_of(layers):
        if count([len(channels) for channels in kept.values()]) <= budget:
            break
        if len(kept[number]) > least:
            kept[number].remove(channel)
    return kept, count([len(channels) for channels in kept.values()])


@check(
    item="pruning",
    points=0.25,
    hint="One line for all layers, by magnitude; stop as soon as the network fits; pass over a layer that has no "
    "more to give.",
)
def the_budget_is_met(sub):
    """Which channels stay, for six budgets: tight and wide ones, one met exactly, one that `least` prevents."""
    side, outputs = 8, 4
    # Stride 1, no padding, square images: who counts something else wrong has been charged for it.
    layers = [public().conv(sub, a, b, (3, 3)) for a, b in ((2, 12), (12, 10), (10, 14))]
    layers[1]["scale"] *= 0.05  # so that `least` protects this one
    layers.append(public().linear(sub, 14 * 2 * 2, outputs))
    count = lambda widths: macs_of(widths, side, 2, outputs)  # noqa: E731
    whole = count([12, 10, 14])
    exact = right_channels(layers, whole // 2, 3, count)[1]
    cases = [[whole * 2 // 3, 1], [whole // 2, 3], [exact, 3], [exact - 1, 3], [whole // 5, 4], [whole, 2]]
    impossible = count([4, 4, 4]) - 1
    cases.append([impossible, 4])
    reply = sub.call("driver:pruned", layers, [2, side, side], cases, wall=public().WALL).result
    found = public().listed(public().damaged(reply, "found", "layers")["found"], len(cases), "the reply")
    for (budget, least), mine in zip(cases[:-1], found, strict=False):
        of = f"budget {budget} of {whole}, least {least}"
        expect(mine != "ValueError", f"{of}: ValueError although it can be met")
        public().expect_network(mine, layers, of)
        kept = public().channels_of(mine, layers, of)
        right, _ = right_channels(layers, budget, least, count)
        widths = [len(channels) for channels in kept.values()]
        expect(count(widths) <= budget, f"{of}: too many MACs", yours=count(widths), spec=f"at most {budget}")
        expect_equal(
            widths, [len(channels) for channels in right.values()], of=f"{of}: channels of the layers"
        )
        for number, channels in right.items():
            expect_equal(kept[number], channels, of=f"{of}: channels of layer {number}")
    same = type(found[-1]) is str and found[-1] == "ValueError"
    expect(
        same, f"no ValueError for a budget of {impossible}, which 4 channels in each layer exceed", hint=""
    )


@check(item="pruning", points=0.15, hint="Of equal magnitudes, -2 and 2 too, those further to the left stay.")
def equal_weights_keep_their_order(sub):
    """Weights of few values, with many ties, signs and zeros, and weights that are all the same."""
    few = [sub.rng.integers(-2, 3, (12, 40)).float() for _ in range(3)]
    few += [torch.zeros(2, 8), torch.full((3, 4), -1.5)]
    # The student's own masks of the same weights, a little larger further to the left of each four.
    apart = [
        torch.where(one < 0, -1, 1) * (one.abs() + (3 - torch.arange(one.shape[1]) % 4) / 100) for one in few
    ]
    found = sub.call("driver:masks", [*few, *apart], wall=public().WALL).result
    public().listed(found, 2 * len(few), "the reply")
    for number, (weight, mine, right) in enumerate(zip(few, found, found[len(few) :], strict=False)):
        of = f"mask {number + 1} of equal weights"
        for one in (mine, right):
            public().expect_tensor(one, weight.shape, torch.bool, of)
            two = bool((one.reshape(-1, 4).sum(1) == 2).all())
            expect(two, f"{of}: not two True in each four", spec="two")
        expect_equal(mine, right, of=f"{of}, beside yours where no two are equal")


# --- distillation -----------------------------------------------------------------------------------------------


@check(
    item="distillation",
    points=0.1,
    hint="log_softmax stays finite where the logarithm of a softmax does not; the teacher is detached.",
)
def gradients_reach_the_student(sub):
    """The student's gradient is the slope of your own loss, with logits of 1 and of 1,000; the teacher has none."""
    student, teacher, targets = public().some_logits(sub, 2, 5, 7)
    targets[1, 3:] = -100
    directions = [sub.rng.normal(student.shape, dtype=torch.float64) for _ in range(3)]
    for factor in (1.0, 500.0):
        of = f"logits of about {2 * factor:g}"
        arguments = (factor * student, factor * teacher, targets, 2.0, 0.5, directions)
        reply = sub.call("driver:gradients", *arguments, wall=public().WALL).result
        public().damaged(reply, "around", "student", "teacher", "loss")
        around = public().listed(reply["around"], 6, "the losses")
        loss = public().number(reply["loss"], f"{of}: loss")
        expect(loss > 0, f"{of}: the loss is not above 0", yours=loss)
        gradient = reply["student"]
        expect(gradient is not None, f"{of}: no gradient reaches the student", hint="")
        public().expect_tensor(gradient, student.shape, torch.float64, f"{of}: the student's gradient")
        slopes = [public().number(each, f"{of}: loss") for each in around]
        right = [(b - a) / 2e-4 for a, b in zip(slopes[::2], slopes[1::2], strict=True)]
        mine = [float((gradient * each).sum()) for each in directions]
        expect(max(map(abs, mine)) > 0, f"{of}: the gradient is zero everywhere")
        unit = max(1.0, *map(abs, right))
        for one, two in zip(mine, right, strict=True):
            expect_close(
                one / unit, two / unit, atol=1e-5, why="a difference quotient in float64", of=f"{of}: slope"
            )
        nothing = reply["teacher"] is None or not bool(
            public().expect_tensor(reply["teacher"], teacher.shape, torch.float64, "gradient").any()
        )
        expect(nothing, f"{of}: a gradient reaches the teacher", spec="none", hint="")


@check(
    item="distillation",
    points=0.1,
    wall=120,
    hint="Sizes are those of the arguments; with more classes a label tells less of what the teacher knows.",
)
def another_student_learns(sub):
    """700 inputs, 8 classes, another width: the same."""
    public().expect_distilled(sub, 700, 10, 8, 28)


# --- budget -----------------------------------------------------------------------------------------------------


@check(
    item="budget",
    points=0.5,
    wall=120,
    hint="The number of layers, their widths and the channels of an image are those of the arguments.",
)
def another_network_fits(sub):
    """Two convolutions on images of two channels: 0.15 of the MACs, an eighth of the bytes, 0.05 less."""
    public().expect_compressed(sub, 2, [(16, 1), (32, 2)], 0.15, 0.05)


# --- int8_kernel ------------------------------------------------------------------------------------------------


@check(
    item="int8_kernel",
    points=0.25,
    wall=60,
    hint="Behind the end of a row lies the next one: what a block loads there must count as 0. And the last block, "
    "which is not whole, belongs to the sum.",
    forgeable="as the public check of this item",
)
def rows_end_within_a_block(sub):
    """32 x 32 products of 1 to 15, which is less than a block, and of 129 to 159: two blocks and a part."""
    # Squares with scales of 1: who takes rows for columns has been charged for it.
    for k, blocks in ((sub.rng.integers(1, 16), (16, 16, 32)), (128 + sub.rng.integers(1, 32), (32, 32, 64))):
        codes = [public().some_codes(sub, 32, k, -127) for _ in range(2)]
        public().expect_products(sub, *codes, blocks)


@check(
    item="int8_kernel",
    points=0.25,
    wall=60,
    hint="Half way, the sums are at 50 million. Integers of 32 bits hold that exactly, float32 does not.",
    forgeable="as the public check of this item",
)
def sums_are_exact_on_the_way(sub):
    """32 x 32 products of 8,192, in whole tiles: one half makes each sum large, the other small again."""
    left, right = (public().some_codes(sub, count, 8192, 100) for count in (32, 32))
    left[:, 4096:] *= -1
    public().expect_products(sub, left, right, (16, 16, 128))
