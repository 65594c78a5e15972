"""The invariant kernels see one shape only, and give a row the same bits in any company; both kernels agree."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from week07_inference_software.engine import Config, Invariant, Llama, Usual
from week07_inference_software.engine.kernels import bits, place_matters
from week07_inference_software.engine.model import BLOCK, Cache, Rows, random_weights

CONFIG = Config(vocabulary=64, width=32, layers=2, heads=4, groups=2, inner=48)
MODEL = Llama(CONFIG, random_weights(CONFIG))
RANDOM = torch.Generator().manual_seed(1)
TEXT = torch.randint(64, (3 * BLOCK,), generator=RANDOM).tolist()


def last_logits(kernels, others=(), chunk=3 * BLOCK, model=MODEL):
    """Logits behind TEXT, read in chunks, in the company of other texts that are read whole in each pass."""
    cache = Cache(CONFIG, 40, model.dtype)
    table = [5, 3, 9]
    for start in range(0, len(TEXT), chunk):
        parts = [(TEXT[start : start + chunk], start, table)]
        parts += [(text, 0, list(range(10 + 4 * n, 14 + 4 * n))) for n, text in enumerate(others)]
        parts.sort(key=lambda part: len(part[0]))
        place = sum(len(p[0]) for p in parts[: parts.index((TEXT[start : start + chunk], start, table))])
        hidden = model.forward(Rows.of(parts), cache, kernels)
        at = place + len(TEXT[start : start + chunk]) - 1
    return model.logits(hidden[at : at + 1], kernels)[0]


COMPANY = [[], [[1]], [TEXT[:20], [7]], [TEXT[5:30], TEXT[1:9], [4]]]


@pytest.mark.parametrize(
    "dtype", [(torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, torch.float32)]
)
def test_bits_do_not_depend_on_company_or_chunks(dtype):
    model = Llama(CONFIG, random_weights(CONFIG), *dtype)
    found = {
        bits(last_logits(Invariant(8), others, chunk, model)) for others in COMPANY for chunk in (48, 17, 8)
    }
    assert len(found) == 1


@pytest.mark.parametrize("tile", [1, 3, 8, 16])
def test_both_kernels_compute_the_same(tile):
    wanted = last_logits(Usual())
    for others in COMPANY:
        torch.testing.assert_close(last_logits(Invariant(tile), others), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(last_logits(Usual(), others, 5), wanted, rtol=1e-4, atol=1e-4)


class Shapes(TorchDispatchMode):
    """Collects the operators that compute with floating-point numbers, with the shapes of their operands."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        shapes = [tuple(a.shape) for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()]
        name = str(function)
        moves = (
            "cat",
            "split",
            "slice",
            "constant_pad",
            "view",
            "select",
            "index",
            "copy",
            "clone",
            "t.default",
        )
        if shapes and not any(word in name for word in moves):
            self.found.add((name, *shapes))
        return function(*args, **(kwargs or {}))


def shapes_of(kernels, others):
    with Shapes() as shapes:
        last_logits(kernels, others)
    return shapes.found


def test_no_invariant_call_has_a_shape_that_depends_on_the_batch():
    alone = shapes_of(Invariant(8), [])
    masks = {call for call in alone if "masked_fill" in call[0] or "zeros" in call[0] or "repeat" in call[0]}
    for others in COMPANY:
        here = shapes_of(Invariant(8), others)
        here = {call for call in here if "masked_fill" not in call[0] and "expand" not in call[0]}
        assert here <= alone | masks
    assert shapes_of(Usual(), []) != shapes_of(Usual(), COMPANY[2])


def test_place_matters_sees_a_function_that_mixes_rows():
    row = torch.randn(16, generator=RANDOM)
    assert place_matters(lambda x: x - x.mean(0), row, 4)
    assert not place_matters(lambda x: x * 2, row, 4)


def test_a_tile_without_rows_is_refused():
    with pytest.raises(ValueError, match="one row"):
        Invariant(0)
