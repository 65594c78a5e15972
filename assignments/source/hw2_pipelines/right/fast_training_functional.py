# replaces: fast_training.py
# method: no modules; sparse gradients and torch.optim.SGD, scaled_dot_product_attention with the bias as its mask
import torch
import torch.nn.functional as F


def tables(length, width, heads, dtype):
    position = torch.arange(length, dtype=torch.float64)
    angle = torch.outer(position, 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width))
    waves = torch.empty(length, width, dtype=torch.float64)
    waves[:, 0::2], waves[:, 1::2] = angle.sin(), angle.cos()
    distance = (position.unsqueeze(0) - position.unsqueeze(1)).abs()
    slope = torch.pow(0.5, torch.arange(heads)).double()
    return waves.to(dtype), (-slope.view(-1, 1, 1) * distance).to(dtype)


def logits(w, waves, bias, ids, lengths, heads):
    b, n = ids.shape
    x = F.embedding(ids, w["embedding"], sparse=True) + waves[:n]
    q, k, v = (x @ w["inwards"].t()).view(b, n, 3, heads, -1).permute(2, 0, 3, 1, 4)
    keep = torch.arange(n).expand(b, n) < lengths.unsqueeze(1)
    mask = bias[:, :n, :n].unsqueeze(0).expand(b, -1, -1, -1)
    mask = mask.masked_fill(~keep.view(b, 1, 1, n), float("-inf"))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x + mixed.transpose(1, 2).reshape(b, n, -1) @ w["outwards"].t()
    mean = torch.einsum("bnd,bn->bd", x, keep.to(x.dtype)) / lengths.unsqueeze(1)
    return mean @ w["head"].t()


def batches(data, order, size):
    tokens, lengths, labels = data
    for begin in range(0, len(order), size):
        rows = order[begin : begin + size]
        some = [tokens[row] for row in rows.tolist()]
        longest = int(lengths[rows].max())
        ids = torch.stack([F.pad(one, (0, longest - len(one))) for one in some])
        yield ids, lengths[rows], labels[rows]


def everything(store):
    tokens, lengths, labels = store.read(0, len(store))
    return torch.split(tokens, lengths.tolist()), lengths, labels


def train(store, validation, weights, settings):
    w = {name: value.clone().requires_grad_() for name, value in weights.items()}
    data, judged, heads = everything(store), everything(validation), settings["heads"]
    longest = int(max(data[1].max(), judged[1].max()))
    waves, bias = tables(longest, w["head"].shape[1], heads, w["head"].dtype)
    optimizer = torch.optim.SGD(w.values(), lr=settings["rate"])
    losses, validated = [], []
    for order in settings["orders"]:
        for ids, lengths, labels in batches(data, order, settings["batch"]):
            loss = F.cross_entropy(logits(w, waves, bias, ids, lengths, heads), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        with torch.inference_mode():
            total = right = 0.0
            for ids, lengths, labels in batches(judged, torch.arange(len(judged[1])), settings["batch"]):
                out = logits(w, waves, bias, ids, lengths, heads)
                total += float(F.cross_entropy(out, labels, reduction="sum"))
                right += float((out.argmax(-1) == labels).sum())
        validated.append((total / len(validation), right / len(validation)))
    return {
        "losses": losses,
        "validation": validated,
        "weights": {name: value.detach() for name, value in w.items()},
    }
