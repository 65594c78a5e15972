"""A small transformer, and what it takes to compute each token of a text once: keys and values that are kept."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F


def forward(weights: dict[str, torch.Tensor], tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """Return the logits [batch, length, words] of every token of `tokens` [batch, length], int64. Given.

    With `width` = D: `weights` has "token" [words, D] and "position" [places, D], and of each layer, 0, 1, ...,
    "0.qkv" [D, 3 D], "0.out" [D, D], "0.up" [D, 4 D], "0.down" [4 D, D]. A layer is attention, each token to itself
    and those before it, and a perceptron, both behind a layer norm without weights, both added to what came in.
    """
    batch, length = tokens.shape
    hidden = weights["token"][tokens] + weights["position"][:length]
    width = hidden.shape[-1]
    causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
    layer = 0
    while f"{layer}.qkv" in weights:
        mixed = F.layer_norm(hidden, (width,)) @ weights[f"{layer}.qkv"]
        query, key, value = mixed.reshape(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // heads)
        attention = scores.masked_fill(~causal, -math.inf).softmax(-1)
        seen = (attention @ value).transpose(1, 2).reshape(batch, length, width)
        hidden = hidden + seen @ weights[f"{layer}.out"]
        wide = (F.layer_norm(hidden, (width,)) @ weights[f"{layer}.up"]).relu()
        hidden = hidden + wide @ weights[f"{layer}.down"]
        layer += 1
    return F.layer_norm(hidden, (width,)) @ weights["token"].T


### BEGIN SOLUTION
def _step(weights, tokens, places, mask, cache, heads):
    """Return logits [n, new, words] and the cache with the keys and values of `tokens` [n, new] at its end.

    `places` [n, new] are their positions, `mask` [n, new, old + new] says whom they may attend to.
    """
    count, new = tokens.shape
    hidden = weights["token"][tokens] + weights["position"][places]
    width, layers = hidden.shape[-1], []
    for layer, (old_keys, old_values) in enumerate(cache):
        mixed = F.layer_norm(hidden, (width,)) @ weights[f"{layer}.qkv"]
        query, key, value = mixed.reshape(count, new, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        key, value = torch.cat([old_keys, key], 2), torch.cat([old_values, value], 2)
        layers.append((key, value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // heads)
        attention = scores.masked_fill(~mask[:, None], -math.inf).softmax(-1)
        seen = (attention @ value).transpose(1, 2).reshape(count, new, width)
        hidden = hidden + seen @ weights[f"{layer}.out"]
        wide = (F.layer_norm(hidden, (width,)) @ weights[f"{layer}.up"]).relu()
        hidden = hidden + wide @ weights[f"{layer}.down"]
    return F.layer_norm(hidden, (width,)) @ weights["token"].T, layers


### END SOLUTION
def prefill(
    weights: dict[str, torch.Tensor], prompts: Sequence[torch.Tensor], heads: int
) -> tuple[torch.Tensor, Any]:
    """Return the logits [n, words] that follow each of n prompts, and a cache of their keys and values.

    A prompt is an int64 tensor of at least one token; they differ in length. The cache may be anything: only
    `decode`, `select` and `join` look at it.
    """
    ### BEGIN SOLUTION
    longest = max(len(prompt) for prompt in prompts)
    # Padding stands on the left, so that all texts end in the same column.
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    tokens = torch.stack([F.pad(prompt, (longest - len(prompt), 0)) for prompt in prompts])
    columns = torch.arange(longest)
    there = columns >= padding[:, None]
    places = (columns - padding[:, None]).clamp(min=0)
    # Padding attends to itself: a softmax over nothing would be 0/0.
    mask = there[:, None, :] & (columns <= columns[:, None]) | torch.eye(longest, dtype=torch.bool)
    layers = sum(name.endswith(".qkv") for name in weights)
    width = weights["token"].shape[1]
    empty = weights["token"].new_zeros(len(prompts), heads, 0, width // heads)
    logits, filled = _step(weights, tokens, places, mask, [(empty, empty)] * layers, heads)
    return logits[:, -1], (padding, filled)
    ### END SOLUTION


def decode(
    weights: dict[str, torch.Tensor], tokens: torch.Tensor, cache: Any, heads: int
) -> tuple[torch.Tensor, Any]:
    """Return the logits [n, words] after one more token for each of the n sequences, and the cache with it.

    `tokens` [n] are int64, in the order of the sequences in the cache. Only these n tokens go through the layers.
    """
    ### BEGIN SOLUTION
    padding, filled = cache
    length = filled[0][0].shape[2]
    mask = (torch.arange(length + 1) >= padding[:, None])[:, None]
    logits, filled = _step(weights, tokens[:, None], (length - padding)[:, None], mask, filled, heads)
    return logits[:, 0], (padding, filled)
    ### END SOLUTION


def select(cache: Any, keep: Sequence[int]) -> Any:
    """Return the cache of the sequences with these numbers, in this order; at least one.

    A number that is left out has ended. One that comes twice becomes two sequences, which go on apart.
    """
    ### BEGIN SOLUTION
    padding, filled = cache
    index = torch.tensor(list(keep))
    spare = int(padding[index].min())  # columns that nobody uses any more
    return padding[index] - spare, [(key[index, :, spare:], value[index, :, spare:]) for key, value in filled]
    ### END SOLUTION


def join(first: Any, second: Any) -> Any:
    """Return one cache with the sequences of both, those of `first` before those of `second`."""
    ### BEGIN SOLUTION
    lengths = [cache[1][0][0].shape[2] for cache in (first, second)]
    paddings, parts = [], []
    for (padding, filled), length in zip((first, second), lengths, strict=True):
        more = max(lengths) - length
        paddings.append(padding + more)
        parts.append([tuple(F.pad(one, (0, 0, more, 0)) for one in pair) for pair in filled])
    filled = [
        (torch.cat([one[0], two[0]]), torch.cat([one[1], two[1]])) for one, two in zip(*parts, strict=True)
    ]
    return torch.cat(paddings), filled
    ### END SOLUTION
