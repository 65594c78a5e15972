"""GPTQ: weights rounded one column after another, each error made good by the columns that are still free.

What matters is not the weights but the outputs: with inputs x, the squared error of a layer's output is
tr(D H Dᵀ), where D = rounded - weight and H is the mean of x xᵀ. Rounding to nearest minimises D, not this.

Frantar, Ashkboos, Hoefler & Alistarh, GPTQ, ICLR 2023; Hassibi & Stork, Optimal brain surgeon, NIPS 1992.
"""

import copy

import torch
from torch import nn

from week08_compress_models.grids import Grid, decode, encode, fit, round_trip
from week08_compress_models.language_model import LanguageModel


def gptq(weight: torch.Tensor, hessian: torch.Tensor, grid: Grid, damp: float = 0.01) -> torch.Tensor:
    """The weight (out, in) on its grid, columns from left to right; hessian (in, in) is the mean of x xᵀ.

    `damp` times the mean of the diagonal is added to it: directions in which no input was seen must cost something.
    """
    free = weight.detach().double().clone()
    size, group = free.shape[1], grid.members(weight.shape)
    if grid.share == "tensor":
        raise ValueError("columns are rounded one by one: scales must belong to rows or groups in a row")
    hessian = hessian.double() + damp * hessian.diagonal().mean().double() * torch.eye(size)
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    rounded = torch.empty_like(free)
    for column in range(size):
        if column % group == 0:  # a new group: its scale, from what its weights have become
            scale, zero = fit(free[:, column : column + group], grid)
        now = free[:, column : column + 1]
        rounded[:, column : column + 1] = decode(encode(now, scale, zero, grid), scale, zero)
        error = (now - rounded[:, column : column + 1]) / factor[column, column]
        free[:, column:] -= error * factor[column, column:]
    return rounded.to(weight.dtype)


def output_error(weight: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor) -> float:
    """Mean squared error of the layer's output over that of an output of nothing: 0 is perfect, 1 is useless."""
    difference, whole = (rounded - weight).double(), weight.double()
    hessian = hessian.double()
    return float(torch.trace(difference @ hessian @ difference.T) / torch.trace(whole @ hessian @ whole.T))


class Inputs:
    """What `add` makes of the inputs of some layers, while a `with` block runs the model."""

    def __init__(self, layers: dict[str, nn.Module]):
        self.layers, self.handles = layers, []

    def __enter__(self):
        for name, layer in self.layers.items():
            hook = lambda _, inputs, name=name: self.add(name, inputs[0])  # noqa: E731
            self.handles.append(layer.register_forward_pre_hook(hook))
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def add(self, name: str, x: torch.Tensor) -> None:
        """Take an input of the layer `name`, (..., channels)."""
        raise NotImplementedError


class Hessians(Inputs):
    """Mean x xᵀ of the inputs of some linear layers."""

    def __init__(self, layers: dict[str, nn.Module]):
        super().__init__(layers)
        self.sums, self.counts = {}, {}

    def add(self, name: str, x: torch.Tensor) -> None:
        """Add the outer products of the rows."""
        rows = x.detach().flatten(0, -2).float()
        self.sums[name] = self.sums.get(name, 0) + rows.T @ rows
        self.counts[name] = self.counts.get(name, 0) + len(rows)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.sums[name] / self.counts[name]


@torch.no_grad()
def compress_by_gptq(
    model: LanguageModel, tokens: torch.Tensor, grid: Grid, damp: float = 0.01
) -> tuple[LanguageModel, list[tuple[str, float, float]]]:
    """A copy whose blocks are rounded by GPTQ, from the first to the last; tokens (n, length) are calibration text.

    The inputs of a block come from the blocks before it *as they are after rounding*, so that it can make good for
    them. Also returns for each layer its name and two output errors, by rounding to nearest and by GPTQ, on those
    inputs.
    """
    model = copy.deepcopy(model)
    x, errors = model.embedding(tokens), []
    for place, block in enumerate(model.blocks):
        layers = {f"blocks.{place}.{name}": layer for name, layer in linears_of(block).items()}
        with Hessians(layers) as hessians:
            block(x)
        for name, layer in layers.items():
            hessian = hessians[name]
            nearest, better = round_trip(layer.weight, grid), gptq(layer.weight, hessian, grid, damp)
            found = [output_error(layer.weight, rounded, hessian) for rounded in (nearest, better)]
            errors.append((name, *found))
            layer.weight.copy_(better)
        x = block(x)
    return model, errors


def linears_of(block: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of one block by name."""
    return {name: layer for name, layer in block.named_modules() if isinstance(layer, nn.Linear)}
