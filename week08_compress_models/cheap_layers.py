"""Layers that need fewer MACs or bytes than the one they replace: by separation, groups, low rank, shared keys.

Howard et al., MobileNets, 2017; Sandler et al., MobileNetV2, CVPR 2018; Ainslie et al., GQA, EMNLP 2023;
Denton et al., Exploiting linear structure within convolutional networks, NIPS 2014; Wang et al., SVD-LLM, ICLR 2025.
"""

import torch
import torch.nn.functional as F
from torch import nn


def separable(channels: int, size: int = 3) -> nn.Sequential:
    """A depthwise convolution, one filter for each channel, then a 1 x 1 convolution that mixes channels."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels),
        nn.Conv2d(channels, channels, 1),
    )


def inverted_residual(channels: int, expansion: int) -> nn.Sequential:
    """1 x 1 to `expansion` times as many channels, depthwise there, 1 x 1 back; without the residual."""
    wide = channels * expansion
    return nn.Sequential(
        nn.Conv2d(channels, wide, 1),
        nn.ReLU6(),
        nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
        nn.ReLU6(),
        nn.Conv2d(wide, channels, 1),
    )


def convolutions(channels: int) -> dict[str, nn.Module]:
    """What may stand in the place of a 3 x 3 convolution, which is the first."""
    return {
        "3 x 3 convolution": nn.Conv2d(channels, channels, 3, padding=1),
        "8 groups": nn.Conv2d(channels, channels, 3, padding=1, groups=8),
        "depthwise separable": separable(channels),
        "depthwise alone": nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        "inverted residual, 4 times as wide": inverted_residual(channels, 4),
    }


# Low rank -------------------------------------------------------------------------------------------------


def break_even(outputs: int, inputs: int) -> float:
    """The rank at which two factors have as many weights, and need as many MACs, as the matrix."""
    return outputs * inputs / (outputs + inputs)


def factors(
    weight: torch.Tensor, rank: int, inputs: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A (outputs, rank) and B (rank, inputs) whose product is nearest to the weight.

    Without inputs, nearest means the smallest sum of squares of A B - W (Eckart and Young 1936). With inputs (n,
    inputs), it means the smallest sum of squares of what the layer gives for them: with their second moments
    X'X = L L', that is the singular value decomposition of W L, and B takes the L back.
    """
    w, root = weight.double(), None
    if inputs is not None:
        x = inputs.double()
        moments = x.T @ x
        moments += 1e-6 * moments.diagonal().mean() * torch.eye(len(moments), dtype=w.dtype)
        root = torch.linalg.cholesky(moments)
        w = w @ root
    u, s, v = torch.linalg.svd(w, full_matrices=False)
    a, b = u[:, :rank] * s[:rank].sqrt(), s[:rank, None].sqrt() * v[:rank]
    if root is not None:
        b = torch.linalg.solve_triangular(root, b, upper=False, left=False)
    return a.to(weight), b.to(weight)


def low_rank(layer: nn.Linear, rank: int, inputs: torch.Tensor | None = None) -> nn.Sequential:
    """Two layers without bias in the place of one."""
    a, b = factors(layer.weight.detach(), rank, inputs)
    two = two_thin(layer.out_features, layer.in_features, rank)
    two[0].weight.data, two[1].weight.data = b, a
    return two


def two_thin(outputs: int, inputs: int, rank: int) -> nn.Sequential:
    """Two layers without bias through `rank` numbers, with random weights: enough for the clock."""
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False))


@torch.no_grad()
def inputs_of(
    model: nn.Module, names: list[str], tokens: torch.Tensor, most: int = 4096
) -> dict[str, torch.Tensor]:
    """What these linear layers are given while the model reads the tokens: at most `most` rows for each."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: found.__setitem__(name, given[0].flatten(0, -2)[:most])
        )
        for name in names
    ]
    model(tokens)
    for hook in hooks:
        hook.remove()
    return found


# Shared keys ----------------------------------------------------------------------------------------------


def grouped(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention of one new token, without a copy of the keys: heads that share keys become rows of one product.

    query (batch, heads, 1, size), keys and values (batch, groups, tokens, size); (batch, heads, 1, size).
    """
    batch, heads, _, size = query.shape
    rows = query.view(batch, keys.shape[1], -1, size)
    weights = (rows @ keys.transpose(2, 3) * size**-0.5).softmax(-1)
    return (weights @ values).view(batch, heads, 1, size)


def repeated(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The same by copies of keys and values for each head, as many programs do it."""
    share = query.shape[1] // keys.shape[1]
    return F.scaled_dot_product_attention(
        query, keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
    )
