"""A plain solution with a cache, for comparisons of time. Never released."""

import math

import torch
import torch.nn.functional as F

KEPT = {}


def random_weights(seed, words, places, width, layers):
    """Return what the driver's function of this name does."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"token": (words, width), "position": (places, width)}
    for layer in range(layers):
        shapes |= {f"{layer}.qkv": (width, 3 * width), f"{layer}.out": (width, width)}
        shapes |= {f"{layer}.up": (width, 4 * width), f"{layer}.down": (4 * width, width)}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) / 3
        for name, shape in shapes.items()
    }


def extend(weights, tokens, cache, heads):
    """Return logits [words] behind `tokens` [new] of one text; appends their keys and values to `cache`."""
    begin = cache[0][0].shape[1] if cache else 0
    hidden = weights["token"][tokens] + weights["position"][begin : begin + len(tokens)]
    width = hidden.shape[1]
    may = torch.ones(len(tokens), begin + len(tokens), dtype=torch.bool).tril(begin)
    for layer in range(sum(name.endswith(".qkv") for name in weights)):
        mixed = F.layer_norm(hidden, (width,)) @ weights[f"{layer}.qkv"]
        query, key, value = mixed.reshape(len(tokens), 3, heads, width // heads).permute(1, 2, 0, 3)
        if begin:
            key, value = torch.cat([cache[layer][0], key], 1), torch.cat([cache[layer][1], value], 1)
            cache[layer] = (key, value)
        else:
            cache.append((key, value))
        scores = (query @ key.transpose(-1, -2) / math.sqrt(width // heads)).masked_fill(~may, -math.inf)
        hidden = (
            hidden + (scores.softmax(-1) @ value).transpose(0, 1).reshape(-1, width) @ weights[f"{layer}.out"]
        )
        hidden = (
            hidden
            + (F.layer_norm(hidden, (width,)) @ weights[f"{layer}.up"]).relu() @ weights[f"{layer}.down"]
        )
    return F.layer_norm(hidden[-1:], (width,)) @ weights["token"].T


def long_text(seed, length, steps):
    """Return the logits [1, words] after a prompt of `length` tokens and `steps` more, one at a time."""
    if "weights" not in KEPT:
        KEPT["weights"] = random_weights(0, 100, 1024, 64, 2)
    generator = torch.Generator().manual_seed(seed)
    tokens, cache = torch.randint(0, 100, (length + steps,), generator=generator), []
    logits = extend(KEPT["weights"], tokens[:length], cache, 4)
    for token in tokens[length:]:
        logits = extend(KEPT["weights"], (token + logits.argmax(-1)) % 100, cache, 4)
    return logits
