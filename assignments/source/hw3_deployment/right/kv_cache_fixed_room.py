# replaces: kv_cache.py
# method: room reserved in one tensor, filled from the left; each sequence writes at its own length
import torch
import torch.nn.functional as F

ROOM = 64


class Cache:
    def __init__(self, keys, values, lengths):
        self.keys, self.values, self.lengths = (
            keys,
            values,
            lengths,
        )  # [layers, n, heads, room, dim] twice, [n]

    def grow(self, room):
        more = room - self.keys.shape[3]
        if more > 0:
            self.keys = F.pad(self.keys, (0, 0, 0, more))
            self.values = F.pad(self.values, (0, 0, 0, more))


def run(weights, tokens, cache, heads):
    n, new = tokens.shape
    places = cache.lengths[:, None] + torch.arange(new)
    hidden = weights["token"][tokens] + weights["position"][places.clamp(max=len(weights["position"]) - 1)]
    width = hidden.shape[-1]
    room = cache.keys.shape[3]
    seen = torch.arange(room) <= places[:, :, None]
    rows = torch.arange(n)[:, None]
    for layer in range(len(cache.keys)):
        qkv = F.layer_norm(hidden, (width,)) @ weights[f"{layer}.qkv"]
        q, k, v = (part.reshape(n, new, heads, -1) for part in qkv.chunk(3, -1))
        cache.keys[layer].transpose(1, 2)[rows, places] = k
        cache.values[layer].transpose(1, 2)[rows, places] = v
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2), cache.keys[layer], cache.values[layer], attn_mask=seen[:, None]
        )
        hidden = hidden + out.transpose(1, 2).reshape(n, new, width) @ weights[f"{layer}.out"]
        inner = F.layer_norm(hidden, (width,)) @ weights[f"{layer}.up"]
        hidden = hidden + inner.clamp(min=0) @ weights[f"{layer}.down"]
    return F.layer_norm(hidden, (width,)) @ weights["token"].T


def prefill(weights, prompts, heads):
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    layers = max(int(name.split(".")[0]) for name in weights if "." in name) + 1
    width = weights["token"].shape[1]
    room = int(lengths.max()) + ROOM
    shape = (layers, len(prompts), heads, room, width // heads)
    cache = Cache(
        weights["token"].new_zeros(shape), weights["token"].new_zeros(shape), torch.zeros_like(lengths)
    )
    tokens = torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True)
    logits = run(weights, tokens, cache, heads)
    cache.lengths = lengths
    return logits[torch.arange(len(prompts)), lengths - 1], cache


def decode(weights, tokens, cache, heads):
    if int(cache.lengths.max()) == cache.keys.shape[3]:
        cache.grow(cache.keys.shape[3] + ROOM)
    logits = run(weights, tokens[:, None], cache, heads)[:, 0]
    cache.lengths = cache.lengths + 1
    return logits, cache


def select(cache, keep):
    index = torch.as_tensor(list(keep))
    return Cache(cache.keys[:, index], cache.values[:, index], cache.lengths[index])


def join(first, second):
    room = max(first.keys.shape[3], second.keys.shape[3])
    first.grow(room)
    second.grow(room)
    return Cache(
        torch.cat([first.keys, second.keys], 1),
        torch.cat([first.values, second.values], 1),
        torch.cat([first.lengths, second.lengths]),
    )
