"""What the seminar's exercises are checked by: models that train, files that are read, kernels that run, attacks."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from week08_compress_models import (
    fragile,
    int8_products,
    methods,
    pareto,
    running,
    storage,
    students,
    transfer,
)
from week08_compress_models import language_model as lm


def judge(yours: Callable) -> Callable[[int, int], list[float]]:
    """Exercise A: what yours says of the bundled model of a seed on a few windows of text; three decimals."""

    def trial(seed, count):
        found = yours(lm.load(seed), lm.validation(count))
        if tuple(found.shape) != (count,):
            raise ValueError(f"one number a window: a tensor of shape ({count},), not {tuple(found.shape)}")
        return [round(float(x), 3) for x in found]

    return trial


def lesson(yours: Callable) -> Callable[[float, float], list[float]]:
    """Exercise B: your loss of some logits, and the text's loss of six steps in which a student learns by it.

    The number itself, because Adam would not see a loss that is too small by a factor.
    """

    def trial(temperature, share):
        generator = torch.Generator().manual_seed(7)
        mine, other = 2 * torch.randn(2, 40, 256, generator=generator)
        value = yours(mine, other, torch.arange(40), temperature, share)
        student = lm.LanguageModel(students.STUDENT, seed=7)
        loss = functools.partial(yours, temperature=temperature, share=share)
        curve = students.train(student, 6, 7, lm.load(0), loss, batch=4, length=64, peak=2e-2)
        return [round(float(value), 3), *(round(bits, 2) for bits in curve)]

    return trial


def packed(yours: Callable) -> Callable[[int, int], tuple[int, bool]]:
    """Exercise C: how many bytes your packing takes for a layer of the model, and whether it comes back."""

    def trial(bits, group):
        form = storage.on_grid(lm.load(0).blocks[0].mlp.up.weight, methods.Grid(bits, group))
        codes = (form.codes.long() + 2 ** (bits - 1))[:5, :96]
        found = np.asarray(yours(codes, bits))
        if found.dtype != np.uint8:
            raise ValueError(f"an array of uint8, not of {found.dtype}")
        if len(found) != -(-codes.numel() * bits // 8):
            return len(found), False
        return len(found), bool((storage.unpack(found, bits, codes.numel()) == codes.flatten()).all())

    return trial


def front(yours: Callable, points: Sequence[Sequence[float]]) -> Callable[[str], list[int]]:
    """Exercise D: your front of small examples, and of the points of the plot."""
    examples = {
        "two that trade": [(1, 2), (2, 1)],
        "one beaten": [(1, 1), (1, 2), (0, 3)],
        "equal ones": [(1, 2), (1, 2), (2, 2)],
        "three costs": [(3, 1, 2), (2, 2, 2), (3, 2, 2), (1, 3, 3), (2, 2, 2.5)],
        "this page's": [tuple(point) for point in points],
    }
    return lambda name: sorted(int(place) for place in yours(examples[name]))


def front_of(name: str, points: Sequence[Sequence[float]]) -> list[int]:
    """What exercise D should find."""
    return front(pareto.front, points)(name)


def product(yours: Callable) -> Callable[[str], list[float]]:
    """Exercise E: your int8 layer alone on rows of very different size, and in every layer of the model."""

    def trial(where):
        if where == "one layer":
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(5, 64, generator=generator) * torch.tensor([[1e-3], [1.0], [50.0], [0.0], [1.0]])
            weight = torch.randn(24, 64, generator=generator)
            form = storage.on_grid(weight, methods.EIGHT, int8_products.largest_here())
            found = yours(x, form.codes, form.steps)
            return [float(f"{float(row.abs().max()):.4g}") for row in found]
        model = lm.load(0)
        forms = methods.every(
            model, lambda w: storage.on_grid(w, methods.EIGHT, int8_products.largest_here())
        )
        runs = running.with_layers(model, lambda name, _: running.EightByEight(forms[name], yours))
        return [round(float(x), 2) for x in methods.losses(runs, lm.validation(2))]

    return trial


def interpreted(yours: Callable) -> Callable[[int, int, int], int]:
    """Exercise F: how many entries of your kernel's product differ from the exact one, by Triton's interpreter."""

    def trial(rows, columns, k):
        generator = torch.Generator().manual_seed(rows + columns + k)
        a = torch.randint(-127, 128, (rows, k), dtype=torch.int8, generator=generator)
        b = torch.randint(-127, 128, (columns, k), dtype=torch.int8, generator=generator)
        try:
            found = int8_products.by_triton(a, b, yours)
        except Exception as error:  # the interpreter wraps whatever a kernel raises
            if "NotImplementedError" in str(error):
                raise NotImplementedError from error
            raise
        return int((found != int8_products.exact(a, b)).sum())

    return trial


def described(yours: Callable) -> Callable[[int], Tensor]:
    """Exercise G: your vectors of some pieces of text that end early, from the bundled model."""

    def trial(count):
        _, test = transfer.split()
        short = (test.tokens == 0).any(1).nonzero().flatten()[:count]
        found = yours(lm.load(0), test.tokens[short])
        if found.requires_grad:
            raise ValueError("the model is frozen here: no gradient is needed, and it costs memory")
        return found[:, ::64]

    return trial


def attacked(yours: Callable) -> Callable[[int, float], tuple[float, bool, bool]]:
    """Exercise H: share still right after your attack, whether pixels stay in 0 to 1, and no step is too large."""

    def trial(seed, size):
        _, _, images, labels = fragile.digits()
        net = fragile.trained(seed)
        before = images.clone()
        found = yours(net, images, labels, size)
        if not torch.equal(images, before):
            raise ValueError("the images that were given have changed")
        inside = bool(found.min() >= 0 and found.max() <= 1)
        near = bool((found - images).abs().max() <= size + 1e-6)
        return round(fragile.accuracy(net, found, labels), 3), inside, near

    return trial
