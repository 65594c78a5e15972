"""Public checks of part 3. The hidden ones call the same procedures with other inputs."""

import contextlib
import math

import torch
import torch.nn.functional as F

from grader.checks import (
    Failed,
    Launch,
    Out,
    StudentError,
    check,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_related,
)

# Seconds for one run, only to end what hangs; longer where the machine is slow. An honest one takes under a second.
WALL = 20
TRAINING_WALL = 60  # an honest training takes two seconds


def listed(value, count, what):
    """Return a list of the student's, after a look at its form."""
    expect(type(value) in (list, tuple), f"{what} is no list", yours=type(value).__name__)
    expect(len(value) == count, f"{what} has {len(value)} entries", spec=str(count))
    return value


def damaged(value, *keys):
    """Return the driver's reply, after a look at its form."""
    expect(type(value) is dict and value.keys() == set(keys), "the driver's reply is damaged")
    return value


def expect_tensor(value, shape, dtype, of, hint=None):
    """Fail unless `value` is a tensor of this shape and dtype whose numbers are finite."""
    spec = f"{str(dtype).removeprefix('torch.')} tensor of shape {tuple(shape)}"
    right = type(value) is torch.Tensor and value.shape == torch.Size(shape) and value.dtype is dtype
    if not right:
        raise Failed(f"{of} has another form", kind(value), spec, hint=hint)
    finite = not dtype.is_floating_point or bool(value.isfinite().all())
    expect(finite, f"{of} is not finite everywhere", spec="finite numbers", hint=hint)
    return value


def kind(value):
    """Return what a value of the student's is, for a message."""
    if type(value) is torch.Tensor:
        return f"{str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return type(value).__name__


@contextlib.contextmanager
def one_thread():
    """Let the examiner train something small on one thread: several would wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- int8 -------------------------------------------------------------------------------------------------------


def some_rows(sub, count, columns):
    """Return float32 rows of many magnitudes; no number lies near the middle between two codes."""
    rows = sub.rng.normal((count, columns)) * 10 ** sub.rng.uniform(-3, 3, (count, 1))
    peaks = sub.rng.integers(0, columns, (count,))
    values = 1.2 * rows.abs().amax(1) * torch.where(torch.arange(count) % 2 == 0, -1, 1)
    rows[torch.arange(count), peaks] = values
    exact = rows.double() / (rows.abs().amax(1).double() / 127)[:, None]
    rows[(exact - exact.floor() - 0.5).abs() < 1e-3] = 0
    return rows


def right_codes(rows):
    """Return codes and scales of float32 rows, by the rules of the statement, in float64."""
    scales = rows.abs().amax(1).double() / 127
    scales = torch.where(scales > 0, scales, 1.0)
    return (rows.double() / scales[:, None]).round().to(torch.int8), scales.float()


def expect_quantized(sub, rows, of):
    """Compare codes and scales of `rows` with the specification."""
    codes, scales = listed(sub.call("driver:quantized", rows, wall=WALL).result, 2, "the reply")
    right, right_scales = right_codes(rows)
    expect_tensor(scales, (len(rows),), torch.float32, f"{of}: scales")
    relative = scales / right_scales
    expect_close(
        relative,
        torch.ones_like(relative),
        atol=1e-6,
        why="float32; the largest magnitude of a row by 127, 1 where it is 0",
        of=f"{of}: scales by those of the specification",
    )
    expect_equal(codes, right, of=f"{of}: codes")


@check(
    item="int8",
    points=0.2,
    hint="Each row has a scale of its own: its largest magnitude by 127. That number becomes 127 or -127, and all "
    "are rounded to the nearest integer, not cut.",
)
def rows_have_a_scale_each(sub):
    """24 rows of magnitudes from 1e-3 to 1e3, the largest number negative in half of them: codes and scales."""
    expect_quantized(sub, some_rows(sub, 24, 80 + sub.rng.integers(0, 20)), "random rows")


def some_codes(sub, count, columns, low):
    """Return codes of at least this magnitude; each row has one sign."""
    signs = torch.where(torch.arange(count) % 2 == 0, 1, -1)[:, None]
    return (sub.rng.integers(low, 128, (count, columns)) * signs).to(torch.int8)


@check(
    item="int8",
    points=0.15,
    hint="int8 holds 127, int16 32,767, float32 every integer up to 2^24. The sums here are larger.",
)
def sums_are_exact(sub):
    """Sums of 1, 40, and 60,000 to 70,000 products of codes are right to the last unit, int32."""
    pairs = []
    for columns, low in ((1, 100), (40, -127), (sub.rng.integers(60_000, 70_000), 64)):
        pairs.append([some_codes(sub, 5, columns, low), some_codes(sub, 6, columns, low)])
    found = listed(sub.call("driver:multiplied", pairs, wall=WALL).result, 3, "the reply")
    for (left, right), product in zip(pairs, found, strict=True):
        expected = (left.double() @ right.double().T).to(torch.int32)
        expect_equal(product, expected, of=f"sums of {left.shape[1]} products")


def expect_linear(sub, shape, outputs, layout, *, with_bias, of):
    """Compare `int8_linear` with what exact arithmetic makes of the student's own codes of the inputs.

    In another layout than "plain", with the student's own outputs for a plain matrix.
    """
    columns = shape[-1]
    inputs = sub.rng.normal(shape)
    inputs[..., 0, 3] = 40.0  # a row with an outlier; its neighbours must not notice
    codes = some_codes(sub, outputs, columns, -127)
    scales, bias = sub.rng.uniform(0.002, 0.02, (outputs,)), 4 * sub.rng.normal((outputs,))
    bias = bias if with_bias else None
    reply = sub.call("driver:linear", inputs, codes, scales, bias, layout, wall=WALL).result
    damaged(reply, "outputs", "plain", "inputs", "rows")
    rows, row_scales = listed(reply["rows"], 2, "what quantize_rows returns")
    count = inputs[..., 0].numel()
    expect_tensor(rows, (count, columns), torch.int8, "the codes of the inputs")
    expect_tensor(row_scales, (count,), torch.float32, "the scales of the inputs")
    added = torch.zeros(outputs) if bias is None else bias
    right = (rows.double() @ codes.double().T) * row_scales.double()[:, None] * scales.double() + added
    right = right.reshape(*shape[:-1], outputs).float()
    if layout != "plain":
        of = f"{of}, beside yours of a plain matrix"
        right = expect_tensor(reply["plain"], (count, outputs), torch.float32, "outputs of a plain matrix")
        right = right.reshape(*shape[:-1], outputs)
    # First: what follows is made of the inputs as they are after the call.
    kept = "Copy what you change: the inputs are the caller's."
    expect_equal(reply["inputs"], inputs, of=f"{of}: inputs after the call", hint=kept)
    expect_close(
        reply["outputs"],
        right,
        atol=2e-6 * float(right.abs().max()),
        why="float32 after exact sums",
        of=of,
    )
    expect_related(
        reply["outputs"],
        inputs @ (codes * scales[:, None]).T + added,
        at_least=0.9,
        of=f"{of}, beside the layer in float32",
    )


@check(
    item="int8",
    points=0.15,
    hint="Integers first, then both scales, then the bias in float32. Each row of the inputs has its own scale.",
)
def the_layer_is_scaled_back(sub):
    """Twenty rows, one with an outlier, and a bias: the exact sums of your codes times both scales, plus the bias."""
    expect_linear(sub, (20, 64), 24, "plain", with_bias=True, of="outputs")


# --- gptq -------------------------------------------------------------------------------------------------------


def correlated(sub, columns, noise=0.31):
    """Return a function that draws inputs; a quarter as many hidden causes as columns move all of them."""
    causes = sub.rng.normal((columns // 4, columns)) / math.sqrt(columns // 4)

    def draw(samples):
        own = noise * sub.rng.normal((samples, columns))
        return 0.95 * sub.rng.normal((samples, columns // 4)) @ causes + own

    return draw


def to_nearest(weight, bits, group):
    """Return the weight with every number rounded to the nearest of its group's grid, float64."""
    top, parts = 2 ** (bits - 1) - 1, weight.double().reshape(len(weight), -1, group)
    scales = (parts.abs().amax(-1, keepdim=True) / top).clamp(min=1e-12)
    return ((parts / scales).round() * scales).reshape(weight.shape)


def quantized_layer(sub, weight, inputs, bits, group, of, beyond=0.0):
    """Return the weight that the student's codes and scales stand for, float64, after a look at the grid.

    A share `beyond` of the codes may lie outside of the range: a few that do cost one check, not all.
    """
    found = listed(
        sub.call("driver:on_a_grid", weight, inputs, bits, group, wall=WALL).result, 2, "the reply"
    )
    codes = expect_tensor(found[0], weight.shape, torch.int8, f"{of}: codes")
    groups = weight.shape[1] // group
    scales = expect_tensor(found[1], (len(weight), groups), torch.float32, f"{of}: scales")
    top, sizes = 2 ** (bits - 1) - 1, codes.int().abs()
    hint = "What is made up for lets weights grow beyond the range; a code stays within it all the same."
    if float((sizes > top).double().mean()) > beyond:
        expect_at_most(int(sizes.max()), top, of=f"{of}: largest magnitude of a code", hint=hint)
    expect(bool((scales > 0).all()), f"{of}: a scale is not above 0", yours=float(scales.min()))
    return codes.double() * scales.double().repeat_interleave(group, 1)


def expect_error_falls(sub, weight, inputs, fresh, bits, group, share, of):
    """Fail unless outputs on `fresh` inputs are off by at most `share` of what rounding to nearest costs."""
    weights = quantized_layer(sub, weight, inputs, bits, group, of, beyond=0.05)

    def error(other):
        return float(((fresh.double() @ (other - weight.double()).T) ** 2).mean())

    plain = error(to_nearest(weight, bits, group))
    expect_at_most(
        error(weights) / plain, share, of=f"{of}: squared error of new outputs, by rounding to nearest's"
    )


@check(
    item="gptq",
    points=0.25,
    hint="Codes are int8; a scale belongs to its row and `group` columns side by side, in the weight's own order.",
)
def codes_lie_on_the_grid(sub):
    """A layer of 48 x 128, 4 bits, groups of 32: codes -7 to 7, scales above 0, together about the weight."""
    # Strongly correlated, so that weights move far, and some of them beyond the range.
    weight, inputs = sub.rng.normal((48, 128)), correlated(sub, 128, 0.1)(512)
    found = quantized_layer(sub, weight, inputs, 4, 32, "4 bits, groups of 32")
    expect_related(found, weight.double(), at_least=0.7, of="codes times scales")


@check(
    item="gptq",
    points=0.25,
    hint="The error of a column, by the diagonal of the factor, times the factor's row is subtracted from the "
    "columns to come. The factor is the upper Cholesky factor of the inverse.",
)
def outputs_change_little(sub):
    """64 x 128, 4 bits, groups of 32, 512 correlated inputs: at most half of round-to-nearest's error on new ones."""
    weight, draw = sub.rng.normal((64, 128)), correlated(sub, 128)
    expect_error_falls(sub, weight, draw(512), draw(2048), 4, 32, 0.5, "4 bits, groups of 32")


# --- rotation ---------------------------------------------------------------------------------------------------


def hadamard(x):
    """Return what the student's `hadamard` is to return."""
    size, half = x.shape[-1], 1
    mixed = x.clone()
    while half < size:
        mixed = mixed.reshape(*x.shape[:-1], -1, 2, half)
        mixed = torch.stack([mixed.sum(-2), mixed[..., 0, :] - mixed[..., 1, :]], -2)
        half *= 2
    return mixed.reshape(x.shape) / math.sqrt(size)


def transforms_of(sub, vectors, wall=WALL):
    """Return what the student's `hadamard` makes of the vectors, and the vectors as they are afterwards."""
    reply = damaged(sub.call("driver:transformed", vectors, wall=wall).result, "found", "vectors")
    return [listed(reply[name], len(vectors), name) for name in ("found", "vectors")]


@check(
    item="rotation",
    points=0.15,
    hint="Sums and differences at distance 1, then 2, 4, ...; at the end, once, by the square root of n.",
)
def transform_is_hadamards(sub):
    """Vectors of 1, 2, 16 and 128 numbers, float64, in batches of any shape, times Hadamard's matrix."""
    shapes = [(3, 1), (2,), (4, 5, 16), (128,), (2, 128)]
    vectors = [sub.rng.normal(shape, dtype=torch.float64) for shape in shapes]
    found, afterwards = transforms_of(sub, vectors)
    for x, mine, after in zip(vectors, found, afterwards, strict=True):
        of = f"shape {tuple(x.shape)}"
        expect_close(mine, hadamard(x), atol=1e-10, why="float64", of=f"transform of {of}")
        # After the numbers: a transform in place is right, and leaves the caller without the vector.
        expect_equal(after, x, of=f"vector of {of} after the call", hint="Copy what you change.")


def peak(hidden):
    """Return the largest magnitude of each vector by its root mean square, the median of all."""
    return float((hidden.abs().amax(-1) / hidden.square().mean(-1).sqrt()).median())


def expect_rotated(sub, sizes, layout):
    """Return hidden vectors and outputs of two layers with an outlier channel between them, before and after."""
    inputs, hidden, outputs = sizes
    first, bias = (
        sub.rng.normal((hidden, inputs), dtype=torch.float64),
        sub.rng.normal((hidden,), dtype=torch.float64),
    )
    first[sub.rng.integers(0, hidden)] *= 60
    second = sub.rng.normal((outputs, hidden), dtype=torch.float64)
    signs = torch.where(sub.rng.integers(0, 2, (hidden,)) == 1, 1.0, -1.0).double()
    signs[:2] = torch.tensor([1.0, -1.0])
    x = sub.rng.normal((64, inputs), dtype=torch.float64)
    arguments = (first, bias, second, signs)
    reply = sub.call("driver:rotated", *arguments, x @ first.T, layout, wall=WALL).result
    damaged(reply, "found", "arguments", "hidden")
    found = listed(reply["found"], 3, "what rotate_pair returns")
    for name, mine, right in zip(("first", "bias", "second"), found, arguments, strict=False):
        expect_tensor(mine, right.shape, torch.float64, name)
    turned = x @ found[0].T
    before, after = x @ first.T + bias, turned + found[1]
    return before, after, before @ second.T, after @ found[2].T, turned, reply, arguments


@check(
    item="rotation",
    points=0.15,
    hint="The rows of the first layer make the channels of the hidden vector, the columns of the second read them; "
    "the bias is part of that vector.",
)
def the_function_stays(sub):
    """256 channels, one with outliers: the same outputs, and max / rms of the hidden vector falls by 4 or more."""
    middle, turned, right, mine, *_ = expect_rotated(sub, (24, 256, 16), "plain")
    # A factor of hadamard itself costs points where its values are compared.
    factor = float((mine * right).sum() / mine.square().sum().clamp(min=1e-300))
    unit, of = float(right.abs().max()), "outputs of the two layers, up to a factor"
    expect_close(factor * mine / unit, right / unit, atol=1e-9, why="float64", of=of)
    expect_at_least(peak(middle) / peak(turned), 4, of="max / rms of the hidden vector, before by after")


# --- pruning ----------------------------------------------------------------------------------------------------


def conv(sub, inputs, outputs, size, stride=1, padding=0, groups=1):
    """Return a layer with random numbers, float64."""
    numbers = {
        "weight": sub.rng.normal((outputs, inputs // groups, *size), dtype=torch.float64),
        "scale": sub.rng.uniform(0.1, 2, (outputs,), dtype=torch.float64)
        * torch.where(torch.arange(outputs) % 2 == 0, 1, -1),
        "shift": sub.rng.normal((outputs,), dtype=torch.float64),
    }
    return {"kind": "conv", **numbers, "stride": stride, "padding": padding, "groups": groups}


def linear(sub, inputs, outputs):
    """Return a layer with random numbers, float64."""
    weight = sub.rng.normal((outputs, inputs), dtype=torch.float64)
    return {"kind": "linear", "weight": weight, "bias": sub.rng.normal((outputs,), dtype=torch.float64)}


def forward(layers, x, weight="weight"):
    """Return what the `forward` of pruning.py does, and `forward_int8`, whose weights are called "codes"."""
    for number, layer in enumerate(layers):
        matrix = layer[weight].to(x.dtype)
        if layer["kind"] == "conv":
            x = F.conv2d(x, matrix, stride=layer["stride"], padding=layer["padding"], groups=layer["groups"])
            x = (x * layer["scale"][:, None, None] + layer["shift"][:, None, None]).relu()
        else:
            x = x.flatten(1) @ matrix.T
            x = (x * layer["scale"] if weight == "codes" else x) + layer["bias"]
            x = x.relu() if number < len(layers) - 1 else x
    return x


def counted(layers, shape, weight="weight"):
    """Return the multiply-accumulates of a network, by walking over all outputs of every layer."""
    _, height, width = shape
    total = 0
    for layer in layers:
        numbers = layer[weight]
        if layer["kind"] == "linear":
            total += sum(len(row) for row in numbers)
            continue
        tall, wide = numbers.shape[2:]
        rows = [top for top in range(0, height + 2 * layer["padding"] - tall + 1, layer["stride"])]
        columns = [left for left in range(0, width + 2 * layer["padding"] - wide + 1, layer["stride"])]
        height, width = len(rows), len(columns)
        total += sum(numbers[channel].numel() for channel in range(len(numbers))) * height * width
    return total


@check(
    item="pruning",
    points=0.2,
    hint="A weight of a convolution is used once for each place of its output. It has in / groups inputs already.",
)
def macs_are_counted(sub):
    """Strides of 1 to 3, padding, groups, kernels and images that are not square, linear layers: the exact number."""
    networks = []
    for stride, padding, groups in ((1, 0, 1), (2, 1, 1), (1, 2, 4), (3, 1, 8), (2, 0, 2)):
        height, width = sub.rng.integers(11, 20), sub.rng.integers(20, 30)
        layers = [
            conv(sub, 3, 8, (3, sub.rng.choice([1, 2, 4])), 1, 1),
            conv(sub, 8, 8, (sub.rng.choice([2, 3]), 5), stride, padding, groups),
        ]
        inputs = forward(layers, torch.zeros(1, 3, height, width, dtype=torch.float64)).numel()
        layers += [linear(sub, inputs, 7), linear(sub, 7, 5)]
        networks.append([layers, [3, height, width]])
    found = listed(sub.call("driver:macs", networks, wall=WALL).result, len(networks), "the reply")
    for (layers, shape), mine in zip(networks, found, strict=True):
        second = layers[1]
        of = f"MACs with stride {second['stride']}, padding {second['padding']}, groups {second['groups']}"
        expect_equal(mine, counted(layers, shape), of=of)


def expect_network(found, layers, of, weight="weight"):
    """Return the student's network, after a look at its form: kinds as in `layers`, shapes that fit."""
    listed(found, len(layers), of)
    for number, (layer, right) in enumerate(zip(found, layers, strict=True)):
        here = f"{of}, layer {number}"
        keys = {weight if name == "weight" else name for name in right}
        keys |= {"scale"} if weight == "codes" else set()
        expect(
            type(layer) is dict and layer.keys() == keys,
            f"{here} has other keys",
            yours=", ".join(sorted(map(str, layer)))[:80] if type(layer) is dict else kind(layer),
            spec=", ".join(sorted(keys)),
        )
        expect(layer["kind"] == right["kind"] and type(layer["kind"]) is str, f"{here} is of another kind")
        for name in ("stride", "padding", "groups"):
            same = name not in right or (type(layer[name]) is int and layer[name] == right[name])
            expect(same, f"{here}: {name} is another", yours=layer.get(name), spec=right.get(name))
        numbers = layer[weight]
        expect(type(numbers) is torch.Tensor, f"{here}: {weight} is no tensor", yours=kind(numbers))
        same = numbers.dim() == right["weight"].dim() and 1 <= len(numbers) <= len(right["weight"])
        expect(same, f"{here}: {weight} has another form", yours=kind(numbers))
        dtype = torch.int8 if weight == "codes" else right["weight"].dtype
        if layer["kind"] == "linear":
            width = number and (found[number - 1], layers[number - 1])
            columns = right["weight"].shape[1]
            if width and width[0]["kind"] == "conv":
                columns = columns // len(width[1]["weight"]) * len(width[0][weight])
            elif width:
                columns = len(width[0][weight])
            shape = (len(numbers), columns)
        else:
            inputs = len(found[number - 1][weight]) if number else right["weight"].shape[1]
            shape = (len(numbers), inputs, *right["weight"].shape[2:])
        expect_tensor(
            numbers,
            shape,
            dtype,
            f"{here}: {weight}",
            hint="An input channel goes with the output channel before it; behind a convolution, a linear layer has "
            "height times width columns for each channel.",
        )
        for name in ("scale", "shift", "bias"):
            if name in keys:
                expect_tensor(
                    layer[name],
                    (len(numbers),),
                    right["bias" if name == "bias" or name not in right else name].dtype,
                    f"{here}: {name}",
                )
    expect(len(found[-1][weight]) == len(layers[-1]["weight"]), f"{of}: the last layer has lost outputs")
    return found


def channels_of(found, layers, of):
    """Return which channels of each convolution have stayed, told by their scales."""
    kept = {}
    for number, layer in enumerate(layers):
        if layer["kind"] == "conv":
            scales = layer["scale"].tolist()
            mine = found[number]["scale"].tolist()
            strange = [one for one in mine if one not in scales]
            expect(
                not strange, f"{of}, layer {number}: a scale that the network did not have", yours=strange[:3]
            )
            kept[number] = [scales.index(one) for one in mine]
            expect(len(set(mine)) == len(mine), f"{of}, layer {number}: a channel comes twice")
    return kept


def masked(layers, kept):
    """Return the network with the output of every other channel set to zero."""
    found = []
    for number, layer in enumerate(layers):
        if number in kept:
            there = torch.zeros(len(layer["scale"]), dtype=torch.float64)
            there[kept[number]] = 1
            layer = {**layer, "scale": layer["scale"] * there, "shift": layer["shift"] * there}
        found.append(layer)
    return found


@check(
    item="pruning",
    points=0.25,
    hint="With a channel go its weights, its scale, its shift, and what reads it in the next layer.",
)
def channels_go_whole(sub):
    """Three convolutions, stride 1 and 2, two linear layers: the pruned network computes what a masked one does."""
    layers = [
        conv(sub, 3, 8, (3, 3), 1, 1),
        conv(sub, 8, 10, (3, 3), 2, 1),
        conv(sub, 10, 8, (1, 1), 1, 0),
        linear(sub, 8 * 5 * 4, 12),
        linear(sub, 12, 5),
    ]
    for layer in layers[:3]:
        layer["scale"][[1, 4]] *= 0.01  # every layer loses channels, and not its last ones alone
        layer["shift"] = layer["shift"].abs()  # so that no random network is dead behind its ReLUs
    shape = [3, 10, 8]
    macs = counted(layers, shape)
    reply = sub.call("driver:pruned", layers, shape, [[macs * 2 // 5, 2]], wall=WALL).result
    damaged(reply, "found", "layers")
    (found,) = listed(reply["found"], 1, "the reply")
    expect(found != "ValueError", "prune raised ValueError although the budget can be met")
    expect_network(found, layers, "the pruned network")
    kept = channels_of(found, layers, "the pruned network")
    expect_at_most(
        counted(found, shape) / macs, 0.8, of="MACs that are left, by all of them; the budget is 0.4"
    )
    x = sub.rng.normal((6, *shape), dtype=torch.float64)
    right = forward(masked(layers, kept), x)
    unit = float(right.abs().max())
    expect_close(forward(found, x) / unit, right / unit, atol=1e-10, why="float64", of="outputs")
    for number, (before, after) in enumerate(zip(layers, listed(reply["layers"], 5, "layers"), strict=True)):
        same = type(after) is dict and before.keys() == after.keys()
        expect(same, f"layer {number} that prune was given is another afterwards", hint="")
        for name in ("weight", "scale", "shift", "bias"):
            if name in before:
                of = f"{name} of layer {number} that prune was given, afterwards"
                expect_equal(after[name], before[name], of=of, hint="Copy what you change.")


@check(
    item="pruning",
    points=0.15,
    hint="Magnitude decides, and each four columns of each row are looked at alone.",
)
def two_of_four_stay(sub):
    """Random weights, of 4 to 64 columns: True at the two of largest magnitude in each four."""
    weights = [sub.rng.normal((rows, columns)) for rows, columns in ((1, 4), (16, 64), (5, 12))]
    found = listed(sub.call("driver:masks", weights, wall=WALL).result, len(weights), "the reply")
    for number, (weight, mine) in enumerate(zip(weights, found, strict=True)):
        right = torch.zeros(weight.shape, dtype=torch.bool)
        for row, numbers in enumerate(weight.tolist()):
            for begin in range(0, len(numbers), 4):
                best = sorted(range(begin, begin + 4), key=lambda place: (-abs(numbers[place]), place))
                right[row, best[:2]] = True
        expect_equal(mine, right, of=f"mask of weight {number + 1}")


# --- distillation -----------------------------------------------------------------------------------------------


def right_loss(student, teacher, targets, temperature, alpha):
    """Return the loss of tokens of which none is padding."""
    student, teacher, targets = student.flatten(0, 1), teacher.flatten(0, 1), targets.flatten()
    mine, asked = ((one / temperature).log_softmax(-1) for one in (student, teacher))
    soft = (asked.exp() * (asked - mine)).sum(-1).mean()
    hard = -student.log_softmax(-1).gather(1, targets[:, None]).mean()
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def some_logits(sub, batch, length, words):
    """Return logits of student and teacher, float64, and targets without padding."""
    student, teacher = (2 * sub.rng.normal((batch, length, words), dtype=torch.float64) for _ in range(2))
    return student, teacher, sub.rng.integers(0, words, (batch, length))


@check(
    item="distillation",
    points=0.1,
    hint="KL(teacher || student), both at T; T^2 belongs to it alone; the cross-entropy is taken at temperature 1; "
    "the mean is over all tokens.",
)
def the_loss_is_right(sub):
    """A batch of 3 x 7 tokens without padding: alpha 1 at T of 1 and 4, alpha 0, and both parts together."""
    logits = some_logits(sub, 3, 7, 9)
    options = [(1.0, 1.0), (4.0, 1.0), (2.0, 0.0), (3.0, 0.3)]
    found = sub.call("driver:losses", [[*logits, *each] for each in options], wall=WALL).result
    for each, mine in zip(options, listed(found, len(options), "the reply"), strict=True):
        of = f"loss at T = {each[0]:g}, alpha = {each[1]:g}"
        expect_close(mine, right_loss(*logits, *each), atol=1e-10, why="float64", of=of)


def number(value, of):
    """Return a loss of the student's as a number."""
    return float(expect_tensor(value, (), torch.float64, of))


@check(
    item="distillation",
    points=0.1,
    hint="Padding is left out of both parts, and out of the number of tokens that they are divided by.",
)
def padding_counts_nowhere(sub):
    """A third of the tokens is padding: the loss is your own loss of the others alone. Padding alone gives 0."""
    student, teacher, targets = some_logits(sub, 4, 9, 6)
    there = torch.ones(4, 9, dtype=torch.bool)
    for row, length in enumerate((9, 5, 7, 3)):
        there[row, length:] = False
    alone = [one[there][None] for one in (student, teacher, targets)]
    half = [one[there][None, :12] for one in (student, teacher, targets)]
    options = (2.0, 0.4)
    padded = [student, teacher, torch.where(there, targets, -100), *options]
    other = [student, teacher, torch.where(there, targets, 77), *options, 77]
    nothing = [student, teacher, torch.full_like(targets, -100), *options]
    cases = [[*alone, *options], [*half, *options], padded, other, nothing]
    found = listed(sub.call("driver:losses", cases, wall=WALL).result, len(cases), "the reply")
    names = ["without padding", "of 12 tokens", "with padding", "with padding = 77", "of nothing but padding"]
    own, fewer, *rest = (number(mine, f"loss {name}") for mine, name in zip(found, names, strict=True))
    expect(own > 0 and abs(own - fewer) > 1e-9, "the loss does not depend on its arguments", yours=own)
    for name, mine in zip(names[2:4], rest, strict=False):
        expect_close(mine, own, atol=1e-10, why="float64", of=f"loss {name}")
    expect_close(rest[2], 0.0, atol=0.0, why="a mean over no tokens, by definition", of=f"loss {names[4]}")


def logits_of(weights, inputs):
    """Return what `student_logits` of distil.py does."""
    hidden = (inputs @ weights["0.weight"].T + weights["0.bias"]).relu()
    return hidden @ weights["1.weight"].T + weights["1.bias"]


def perceptron(sub, inputs, width, classes):
    """Return random weights, float32."""
    return {
        "0.weight": sub.rng.normal((width, inputs)) * math.sqrt(2 / inputs),
        "0.bias": torch.zeros(width),
        "1.weight": sub.rng.normal((classes, width)) / math.sqrt(width),
        "1.bias": torch.zeros(classes),
    }


def from_labels(weights, inputs, labels, judge):
    """Return the best of what `judge` says of a student trained by cross-entropy for 25, 50, or 100 steps."""
    best = 0.0
    for steps in (25, 50, 100):
        mine = {name: one.clone().requires_grad_() for name, one in weights.items()}
        optimizer = torch.optim.Adam(mine.values(), lr=0.02)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(logits_of(mine, inputs), labels).backward()
            optimizer.step()
            schedule.step()
        best = max(best, judge({name: one.detach() for name, one in mine.items()}))
    return best


def expect_distilled(sub, samples, columns, classes, width):
    """Fail unless the student's student meets the teacher's best class more often than one trained on labels."""
    teacher = perceptron(sub, columns, 48, classes)
    teacher["0.bias"] = sub.rng.normal((48,)) / 2
    weights = perceptron(sub, columns, width, classes)
    inputs, fresh = sub.rng.normal((samples, columns)), sub.rng.normal((4000, columns))
    answers = [3 * logits_of(teacher, each) for each in (inputs, fresh)]
    answers = [each - answers[0].mean(0) for each in answers]
    noise = sub.rng.uniform(1e-6, 1 - 1e-6, (samples, classes))
    labels = (answers[0] - (-noise.log()).log()).argmax(-1)  # Gumbel: a draw from the softmax
    best = answers[1].argmax(-1)

    def judge(found):
        return float((logits_of(found, fresh).argmax(-1) == best).double().mean())

    arguments = (weights, inputs, labels, answers[0])
    found = sub.call("driver:trained", *arguments, wall=TRAINING_WALL).result
    expect(
        type(found) is dict and found.keys() == weights.keys(),
        "train_student returned other names",
        spec=", ".join(weights),
    )
    for name, weight in weights.items():
        expect_tensor(found[name], weight.shape, torch.float32, f"weight {name}")
    with one_thread():
        bound = from_labels(weights, inputs, labels, judge) + 0.06
    of = "share of 4,000 new inputs on which the student agrees with its teacher"
    expect_at_least(judge(found), bound, of=of)


@check(
    item="distillation",
    points=0.1,
    wall=120,
    hint="The teacher's logits say more than labels that were drawn from them: alpha near 1, and enough steps.",
)
def a_student_learns_from_its_teacher(sub):
    """500 inputs, 6 classes: 0.06 more of new inputs right than a student trained on labels, stopped at its best."""
    expect_distilled(sub, 500, 10, 6, 24)


# --- budget -----------------------------------------------------------------------------------------------------


def patterns(sub, channels):
    """Return a function that draws images of ten smooth random patterns, shifted and noisy, and their classes."""
    made = F.avg_pool2d(sub.rng.normal((10, channels, 12, 12)), 3, 1)
    made = made / made.std((1, 2, 3), keepdim=True)

    def draw(count):
        labels = sub.rng.integers(0, 10, (count,))
        windows = made.unfold(2, 8, 1).unfold(3, 8, 1)  # [10, channels, 3, 3, 8, 8]
        down, right = sub.rng.integers(0, 3, (count,)), sub.rng.integers(0, 3, (count,))
        images = windows[labels, :, down, right]
        return images + 0.8 * sub.rng.normal(images.shape), labels

    return draw


def trained_network(sub, channels, convolutions, draw):
    """Return a network of `convolutions` (outputs, stride) and a linear layer that knows the patterns, float32."""
    layers, inputs, side = [], channels, 8
    for outputs, stride in convolutions:
        layer = conv(sub, inputs, outputs, (3, 3), stride, 1)
        layer["weight"] = sub.rng.normal(layer["weight"].shape) * math.sqrt(2 / (9 * inputs))
        layer["scale"], layer["shift"] = sub.rng.uniform(0.5, 1.5, (outputs,)), torch.zeros(outputs)
        layers.append(layer)
        inputs, side = outputs, (side - 1) // stride + 1
    inputs *= side * side
    weight = sub.rng.normal((10, inputs)) / math.sqrt(inputs)
    layers.append({"kind": "linear", "weight": weight, "bias": torch.zeros(10)})
    images, labels = draw(1200)
    numbers = [one.requires_grad_() for layer in layers for one in layer.values() if torch.is_tensor(one)]
    optimizer, steps = torch.optim.Adam(numbers, lr=0.01), 120
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = sub.rng.integers(0, len(images), (128,))
        optimizer.zero_grad()
        F.cross_entropy(forward(layers, images[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    for one in numbers:
        one.requires_grad_(False)
    return layers


def expect_compressed(sub, channels, convolutions, share, loss):
    """Hold a compressed network against its budgets, and what it says of new images against their classes."""
    draw = patterns(sub, channels)
    with one_thread():
        layers = trained_network(sub, channels, convolutions, draw)
    shape = (channels, 8, 8)
    size = sum(one.nbytes for layer in layers for one in layer.values() if torch.is_tensor(one))
    macs, room = int(counted(layers, shape) * share), size // 8
    found = sub.call("driver:compressed", layers, draw(800)[0], macs, room, wall=TRAINING_WALL).result
    expect_network(found, layers, "the compressed network", "codes")
    expect_at_most(counted(found, shape, "codes"), macs, of="MACs for an image")
    mine = sum(one.nbytes for layer in found for one in layer.values() if torch.is_tensor(one))
    expect_at_most(mine, room, of="bytes of all tensors")
    images, labels = draw(3000)
    right = [
        float((logits.argmax(-1) == labels).double().mean())
        for logits in (forward(layers, images), forward(found, images, "codes"))
    ]
    of = f"share of new images that are right; the given network has {right[0]:.3f}"
    expect_at_least(right[1], right[0] - loss, of=of)


@check(
    item="budget",
    points=0.5,
    wall=120,
    hint="Prune to the MACs first; train what is left on what the given network says of the inputs; quantise last.",
)
def a_network_fits_its_budgets(sub):
    """Three convolutions: a fifth of the MACs, an eighth of the bytes, and at most 0.05 less of new images right."""
    expect_compressed(sub, 1, [(12, 1), (20, 2), (24, 1)], 0.2, 0.05)


# --- int8_kernel ------------------------------------------------------------------------------------------------

KERNEL_WALL = 60  # an honest one takes some seconds in the interpreter
INTERPRETED = (
    "without a GPU Triton's interpreter runs in the student's process, which could compute without the kernel"
)


def cause_of(found, left, right, scales, block):
    """Return a hint for a mistake that gives itself away by its numbers, None for any other.

    `block` is BLOCK_K; scales are powers of two, so a number divided by them is the sum that it was made of.
    """
    if not found.isfinite().all():
        return "Some numbers are inf or NaN: float16 ends at 65,504. tl.dot of int8 gives int32; keep that."
    codes = left.double(), right.double()
    sums, (rows, columns) = codes[0] @ codes[1].T, (scales[0][:, None], scales[1])
    wanted = sums * rows * columns
    first, last = (a[:, :block] @ b[:, :block].T for a, b in (codes, [one.flip(1) for one in codes]))
    known = [
        (sums, "The sums are right, and both scales are missing."),
        (sums * rows, "The sums are right, and left_scales are in them. right_scales[j] scales column j."),
        (sums * columns, "The sums are right, and right_scales are in them. left_scales[i] scales row i."),
        (first * rows * columns, "In each sum are the first BLOCK_K products only. The loop goes on to k."),
        (last * rows * columns, "In each sum are the last BLOCK_K products only: add all blocks up."),
        (
            first * -(-left.shape[1] // block) * rows * columns,
            "Each sum has its first BLOCK_K products again in every turn: go on by BLOCK_K along k.",
        ),
        (wanted.trunc(), "Scaled numbers have been cut to integers: what goes to out is float32."),
    ]
    if len(rows) == len(columns):
        swapped = sums * scales[0] * scales[1][:, None]
        known.append((swapped, "left_scales[i] scales row i of out, right_scales[j] column j."))
    for numbers, hint in known:
        if torch.equal(found.double(), numbers):
            return hint
    factors = (found.double() / wanted)[wanted != 0]
    if len(factors.unique()) > 1 and (factors.frexp().mantissa == 0.5).all():  # powers of two, as scales are
        return (
            "The sums are right, the scales are not: row i of out is multiplied by left_scales[i], column j by "
            "right_scales[j], in every tile."
        )
    lost = found.double() / (rows * columns) - sums
    wrong = lost[lost != 0]
    for bits in (16, 8):
        if len(wrong) > 8 and not (wrong % 2**bits).any():
            return f"Sums are off by multiples of {2**bits:,}: int{bits} wraps around. Make it int32 before that."
    most = codes[0].abs() @ codes[1].abs().T
    far = (found.double() / (rows * columns)).abs() > 2 * most  # inf, made an integer
    near = lost.abs() <= 2e-3 * most
    if far.any() and near[~far].double().mean() > 0.9:  # not all: two of these add up to 0
        return (
            "Some sums are far too large, and the others are rounded: float16 ends at 65,504, and inf has become an "
            "integer. tl.dot of int8 gives int32; keep that."
        )
    if near.all() and len(wrong.unique()) > 1:
        return (
            "The numbers are nearly right: something has rounded them. float32 holds every integer up to 2^24, "
            "float16 up to 2,048. tl.dot of int8 gives int32: add int32 to int32, and scale when all is added."
        )
    return None


def expect_products(sub, left, right, blocks, scaled=False):
    """Launch the kernel on these codes, and compare what it writes with the exact products, scaled or as they are."""
    (m, k), n = left.shape, len(right)
    # Powers of two: to scale by them rounds nothing, so that every right kernel writes the same bits.
    scales = [
        2.0 ** (sub.rng.integers(-9, -2, (count,)) if scaled else torch.zeros(count)) for count in (m, n)
    ]
    constants = dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), blocks, strict=True))
    grid = [-(-m // blocks[0]), -(-n // blocks[1])]
    launch = Launch([left, right, *scales, Out((m, n)), m, n, k], grid, constants)
    try:
        written = sub.launch("int8_kernel:int8_rows", launch)
    except Failed as error:
        if not isinstance(error, StudentError):  # it has run, and written elsewhere
            error.hint = "tl.store goes to out alone, with a mask: rows below m, and columns below n."
        raise
    if written is None:
        return
    of = f"out for {m} and {n} rows of {k}, blocks {blocks[0]} x {blocks[1]} x {blocks[2]}"
    (found,) = written
    silent = found.view(torch.int32).flatten() == -1  # as it was before the launch
    count = int(silent.sum())
    expect(
        count == 0,
        f"{of}: {count} of {found.numel()} elements were not written",
        hint="Row i of out begins at i * n: yours come too close, and the end of out is left."
        if count % n and silent[-count:].all()
        else "Program (i, j) writes BLOCK_M rows from i * BLOCK_M on, BLOCK_N columns from j * BLOCK_N on; the mask "
        "leaves out nothing but rows from m on and columns from n on.",
    )
    wanted = (left.double() @ right.double().T * scales[0][:, None] * scales[1]).float()
    expect_equal(found, wanted, of=of, hint=cause_of(found, left, right, scales, blocks[2]))


@check(
    item="int8_kernel",
    points=0.5,
    wall=KERNEL_WALL,
    hint="Rows lie one behind the other: left[i, l] at i * k + l, right[j, l] at j * k + l, out[i, j] at i * n + j.",
    waiting="A loop of the kernel does not end, or has very many turns.",
    forgeable=INTERPRETED,
)
def tiles_are_products(sub):
    """64 x 64 products of 128 in whole tiles; 33 to 47 x 49 to 63 of 96, where the last tiles are not whole."""
    shapes = [(64, 64, 128), (sub.rng.integers(33, 48), sub.rng.integers(49, 64), 96)]
    for (m, n, k), blocks in zip(shapes, ((32, 16, 64), (16, 32, 32)), strict=True):
        expect_products(sub, *(some_codes(sub, count, k, -127) for count in (m, n)), blocks, scaled=True)
