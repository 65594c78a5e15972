"""Weights as they lie in a file: halves, packed integers, kept weights under a bit mask, two thin factors.

A method of the week ends in one `Stored` for each weight matrix. `write` puts a whole model into one file, whose
length is the size that the plot shows; `read` makes a model of it again, and that model is what is judged. What is
not in the file cannot help.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from week08_compress_models import language_model as lm
from week08_compress_models.grids import Grid, encode, fit


def pack(codes: Tensor, bits: int) -> np.ndarray:
    """Whole numbers 0 to 2^bits - 1 as bits one after the other, the lowest first: uint8, ceil(n bits / 8)."""
    flat = codes.flatten().numpy().astype(np.uint8)
    planes = (flat[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(planes.ravel(), bitorder="little")


def unpack(packed: np.ndarray, bits: int, count: int) -> Tensor:
    """The first `count` numbers of `pack`, int64."""
    planes = np.unpackbits(packed, bitorder="little", count=count * bits).reshape(count, bits)
    return torch.from_numpy(planes.astype(np.int64) @ (1 << np.arange(bits)))


@dataclass(frozen=True)
class Half:
    """Numbers in two bytes each."""

    tensor: Tensor

    def arrays(self) -> dict[str, np.ndarray]:
        return {"half": self.tensor.detach().to(torch.float16).numpy()}

    def weight(self) -> Tensor:
        return self.tensor.detach().half().float()


@dataclass(frozen=True)
class Integers:
    """Whole numbers (rows, k) between -2^(bits-1) and 2^(bits-1) - 1, and a step for each group of a row."""

    codes: Tensor
    steps: Tensor
    """(rows, k / group) float32, kept in two bytes each."""
    bits: int

    def arrays(self) -> dict[str, np.ndarray]:
        shifted = self.codes.long() + 2 ** (self.bits - 1)
        return {
            f"int{self.bits}": pack(shifted, self.bits),
            "steps": self.steps.to(torch.float16).numpy(),
            "shape": np.array(self.codes.shape, np.int32),
        }

    def weight(self) -> Tensor:
        rows, k = self.codes.shape
        steps = self.steps.half().float()
        return (self.codes.float().view(rows, steps.shape[1], -1) * steps[:, :, None]).view(rows, k)


@dataclass(frozen=True)
class Sparse:
    """A matrix with many zeros: a bit for each place, and the others in two bytes each."""

    tensor: Tensor

    def arrays(self) -> dict[str, np.ndarray]:
        kept = self.tensor != 0
        return {
            "places": pack(kept.long(), 1),
            "kept": self.tensor[kept].half().numpy(),
            "shape": np.array(self.tensor.shape, np.int32),
        }

    def weight(self) -> Tensor:
        return self.tensor.half().float()


@dataclass(frozen=True)
class Factors:
    """left (rows, rank) times right (rank, k), two bytes a number."""

    left: Tensor
    right: Tensor

    def arrays(self) -> dict[str, np.ndarray]:
        return {"left": self.left.half().numpy(), "right": self.right.half().numpy()}

    def weight(self) -> Tensor:
        return self.left.half().float() @ self.right.half().float()


Stored = Half | Integers | Sparse | Factors


def _revived(arrays: Mapping[str, np.ndarray]) -> Stored:
    """What `arrays()` of one matrix came from."""
    if "half" in arrays:
        return Half(torch.from_numpy(arrays["half"]).float())
    if "left" in arrays:
        return Factors(*(torch.from_numpy(arrays[name]).float() for name in ("left", "right")))
    shape = tuple(arrays["shape"])
    count = int(np.prod(shape))
    if "kept" in arrays:
        tensor = torch.zeros(count)
        places = unpack(arrays["places"], 1, count).bool()
        tensor[places] = torch.from_numpy(arrays["kept"]).float()
        return Sparse(tensor.view(shape))
    (name,) = (name for name in arrays if name.startswith("int"))
    bits = int(name.removeprefix("int"))
    codes = unpack(arrays[name], bits, count) - 2 ** (bits - 1)
    return Integers(codes.view(shape).to(torch.int8), torch.from_numpy(arrays["steps"]).float(), bits)


def write(model: nn.Module, forms: Mapping[str, Stored], path: Path) -> int:
    """All of a model in one file (.npz, not compressed): `forms` by the name of the layer, the rest as halves.

    Returns the bytes of the file.
    """
    arrays = {}
    for name, tensor in model.state_dict().items():
        form = forms.get(name.removesuffix(".weight"), Half(tensor))
        arrays |= {f"{name}|{kind}": array for kind, array in form.arrays().items()}
    np.savez(path, **arrays)
    return path.stat().st_size


def read(path: Path, config: lm.Config = lm.TEACHER) -> tuple[lm.LanguageModel, dict[str, Stored]]:
    """A model from a file of `write`, with float32 weights, and the forms that its matrices were stored in."""
    with np.load(path) as file:
        found: dict[str, dict[str, np.ndarray]] = {}
        for key in file.files:
            name, _, kind = key.rpartition("|")
            found.setdefault(name, {})[kind] = file[key]
    forms = {name: _revived(arrays) for name, arrays in found.items()}
    model = lm.LanguageModel(config)
    model.load_state_dict({name: form.weight() for name, form in forms.items()})
    return model.eval(), {name.removesuffix(".weight"): form for name, form in forms.items()}


def on_grid(weight: Tensor, grid: Grid, largest: int | None = None) -> Integers:
    """Round to nearest on a symmetric grid; `largest` is the code of the largest weight, if not the grid's own."""
    rows, k = weight.shape
    blocks = weight.detach().reshape(-1, grid.members(weight.shape))
    steps, zero = fit(blocks, grid)
    if largest is not None:
        steps = (steps * grid.levels[1] / largest).half().float()
    codes = encode(blocks, steps, zero, grid)
    return Integers(codes.view(rows, k).to(torch.int8), steps.view(rows, -1), grid.bits)


def recovered(weight: Tensor, grid: Grid) -> Integers:
    """The codes and steps of a weight that already lies on a symmetric grid, as GPTQ leaves it.

    The largest of a group is some code times its step: the first code that makes all others whole is taken.
    Raises ValueError where none does.
    """
    rows, k = weight.shape
    blocks = weight.detach().double().view(-1, grid.members(weight.shape))
    most = blocks.abs().amax(1, keepdim=True).clamp(min=1e-12)
    codes, steps = torch.zeros_like(blocks), torch.zeros_like(most)
    for code in range(1, grid.levels[1] + 1):
        step = most / code
        whole = ((blocks / step) - (blocks / step).round()).abs().amax(1, keepdim=True) < 0.02
        new = whole & (steps == 0)
        codes, steps = torch.where(new, (blocks / step).round(), codes), torch.where(new, step, steps)
    if (steps == 0).any():
        raise ValueError(
            f"{int((steps == 0).sum())} groups of this weight lie on no grid of {grid.bits} bits"
        )
    return Integers(codes.view(rows, k).to(torch.int8), steps.float().view(rows, -1), grid.bits)
