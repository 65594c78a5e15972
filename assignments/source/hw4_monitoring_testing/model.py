"""A small language model as functions: weights are a dictionary of tensors, and nothing else is kept.

`config` is a dictionary: `words`, `width`, `heads`, `layers`, `most` (positions), `dropout` (a chance).
"""

import math

import torch
import torch.nn.functional as F

IGNORED = -100


def initial(config: dict, seed: int) -> dict[str, torch.Tensor]:
    """Return new weights, float32, which `seed` determines. D is the width.

    token [words, D], position [most, D], norm [D]; and for layer i: i.norm1 [D], i.qkv [D, 3D], i.out [D, D],
    i.norm2 [D], i.up [D, 4D], i.down [4D, D]. Norms are 1. All others are normal with mean 0 and deviation 0.02, but
    i.out and i.down, which are added to the stream 2 * layers times: 0.02 / sqrt(2 * layers).
    """
    generator = torch.Generator().manual_seed(seed)
    width = config["width"]

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.02 * scale

    weights = {"token": normal(config["words"], width), "position": normal(config["most"], width)}
    residual = (2 * config["layers"]) ** -0.5
    for layer in range(config["layers"]):
        weights |= {
            f"{layer}.norm1": torch.ones(width),
            f"{layer}.qkv": normal(width, 3 * width),
            f"{layer}.out": normal(width, width, scale=residual),
            f"{layer}.norm2": torch.ones(width),
            f"{layer}.up": normal(width, 4 * width),
            f"{layer}.down": normal(4 * width, width, scale=residual),
        }
    return weights | {"norm": torch.ones(width)}


def forward(weights: dict, tokens: torch.Tensor, config: dict, seed: int | None = None) -> torch.Tensor:
    """Return the logits [batch, length, words] of `tokens` [batch, length]; none depends on a later token.

    With x = token + position: for each layer x = x + dropout(attention(norm1(x)) @ out), then
    x = x + dropout(relu(norm2(x) @ up) @ down); the logits are norm(x) @ token.T. A norm is layer_norm over the width
    times its weight. Attention has `heads` heads: query, key and value are the thirds of norm1(x) @ qkv, head h takes
    the h-th piece of each, and scores are divided by the root of a head's width.

    Dropout acts only where a seed is given, and `seed` determines it: each number is 0 with the chance
    config["dropout"], else divided by one minus that; every layer and place draws anew.
    Raises ValueError where there are more tokens than positions.
    """
    length = tokens.shape[1]
    if length > config["most"]:
        raise ValueError(f"{length} tokens, but the model has {config['most']} positions")
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    x = weights["token"][tokens] + weights["position"][:length]
    ### BEGIN SOLUTION
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    ### GIVEN
    # hidden = torch.ones(length, length, dtype=torch.bool).triu(2)
    ### END SOLUTION
    for layer in range(config["layers"]):
        mixed = _norm(x, weights[f"{layer}.norm1"]) @ weights[f"{layer}.qkv"]
        query, key, value = (
            part.unflatten(-1, (config["heads"], -1)).transpose(1, 2) for part in mixed.chunk(3, -1)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        seen = scores.masked_fill(hidden, -math.inf).softmax(-1) @ value
        added = seen.transpose(1, 2).flatten(2) @ weights[f"{layer}.out"]
        x = x + _dropout(added, config["dropout"], generator)
        inner = (_norm(x, weights[f"{layer}.norm2"]) @ weights[f"{layer}.up"]).relu()
        x = x + _dropout(inner @ weights[f"{layer}.down"], config["dropout"], generator)
    return _norm(x, weights["norm"]) @ weights["token"].T


def loss(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return the sum of -log p(target) (natural logarithm) over all targets but IGNORED ones, and their number."""
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, int((targets != IGNORED).sum())


def _norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, weight.shape) * weight


def _dropout(x: torch.Tensor, chance: float, generator: torch.Generator | None) -> torch.Tensor:
    if generator is None or chance == 0:
        return x
    kept = torch.rand(x.shape, generator=generator) >= chance
    return x * kept / (1 - chance)
