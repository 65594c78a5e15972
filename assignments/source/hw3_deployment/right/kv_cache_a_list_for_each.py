# replaces: kv_cache.py
# method: a list of keys and values for each sequence; each goes through the layers alone
import torch
import torch.nn.functional as F


def layers_of(weights):
    return sum(name.endswith(".qkv") for name in weights)


def norm(hidden):
    return F.layer_norm(hidden, hidden.shape[-1:])


def read(weights, tokens, cache, heads):
    begin = len(cache[0][0])
    hidden = weights["token"][tokens] + weights["position"][begin : begin + len(tokens)]
    out = []
    for layer, (keys, values) in enumerate(cache):
        query, key, value = (norm(hidden) @ weights[f"{layer}.qkv"]).chunk(3, -1)
        keys, values = torch.cat([keys, key]), torch.cat([values, value])
        out.append((keys, values))
        seen = []
        for q, k, v in zip(
            query.chunk(heads, -1), keys.chunk(heads, -1), values.chunk(heads, -1), strict=True
        ):
            scores = q @ k.T * q.shape[-1] ** -0.5
            late = torch.arange(len(keys)) > torch.arange(begin, len(keys))[:, None]
            seen.append(scores.masked_fill(late, -torch.inf).softmax(-1) @ v)
        hidden = hidden + torch.cat(seen, -1) @ weights[f"{layer}.out"]
        hidden = hidden + F.relu(norm(hidden) @ weights[f"{layer}.up"]) @ weights[f"{layer}.down"]
    return weights["token"] @ norm(hidden[-1]), out


def prefill(weights, prompts, heads):
    empty = weights["token"][:0]
    fresh = [[(empty, empty)] * layers_of(weights) for _ in prompts]
    return _all(weights, prompts, fresh, heads)


def _all(weights, texts, caches, heads):
    found = [read(weights, text, cache, heads) for text, cache in zip(texts, caches, strict=True)]
    return torch.stack([logits for logits, _ in found]), [cache for _, cache in found]


def decode(weights, tokens, cache, heads):
    return _all(weights, [token[None] for token in tokens], cache, heads)


def select(cache, keep):
    return [cache[number] for number in keep]


def join(first, second):
    return first + second
