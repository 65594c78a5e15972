# replaces: fast_training.py
# method: a step works on a small dense table of the words in its batch; einsum; tables as tensors in each step
import torch
import torch.nn.functional as F

NAMES = ("inwards", "outwards", "head")


class Batch:
    def __init__(self, pieces, labels):
        self.lengths = torch.tensor([len(piece) for piece in pieces])
        self.labels = labels
        size = int(self.lengths.max())
        self.real = torch.arange(size)[None] < self.lengths[:, None]
        self.words, places = torch.cat(pieces).unique(return_inverse=True)
        self.ids = torch.zeros(len(pieces), size, dtype=torch.int64)
        self.ids[self.real] = places


def forward(table, inwards, outwards, head, batch, heads):
    value = table[batch.ids]
    rows, size, width = value.shape
    place = torch.arange(size, dtype=torch.float64)
    angle = place[:, None] / 10_000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    value = value + torch.stack((torch.sin(angle), torch.cos(angle)), 2).reshape(size, width).to(value.dtype)
    query, key, content = F.linear(value, inwards).reshape(rows, size, 3, heads, width // heads).unbind(2)
    scores = torch.einsum("bqhd,bkhd->bhqk", query * (width // heads) ** -0.5, key)
    away = (place[:, None] - place[None]).abs().to(value.dtype)
    scores = scores - torch.exp2(-torch.arange(heads).to(value.dtype))[:, None, None] * away
    scores = torch.where(batch.real[:, None, None], scores, torch.tensor(-torch.inf, dtype=value.dtype))
    mixed = torch.einsum("bhqk,bkhd->bqhd", torch.softmax(scores, -1), content).reshape(rows, size, width)
    value = value + F.linear(mixed, outwards)
    pooled = (value * batch.real[..., None]).sum(1) / batch.lengths[:, None]
    return F.linear(pooled, head)


def read(store):
    tokens, lengths, labels = store.read(0, len(store))
    return tokens.split(lengths.tolist()), labels


def train(store, validation, weights, settings):
    embedding = weights["embedding"].clone()
    others = [weights[name].clone().requires_grad_() for name in NAMES]
    pieces, labels = read(store)
    judged, answers = read(validation)
    size, heads = settings["batch"], settings["heads"]
    tests = [Batch(judged[i : i + size], answers[i : i + size]) for i in range(0, len(judged), size)]
    losses, validated = [], []
    for order in settings["orders"]:
        for rows in order.split(size):
            batch = Batch([pieces[row] for row in rows], labels[rows])
            table = embedding[batch.words].requires_grad_()
            loss = F.cross_entropy(forward(table, *others, batch, heads), batch.labels)
            gradients = torch.autograd.grad(loss, [table, *others])
            with torch.no_grad():
                embedding[batch.words] = table - settings["rate"] * gradients[0]
                for weight, gradient in zip(others, gradients[1:], strict=True):
                    weight -= settings["rate"] * gradient
            losses.append(loss.item())
        with torch.no_grad():
            sums = torch.zeros(2, dtype=torch.float64)
            for batch in tests:
                out = forward(embedding[batch.words], *others, batch, heads)
                sums[0] += F.cross_entropy(out, batch.labels, reduction="sum")
                sums[1] += (out.argmax(1) == batch.labels).sum()
        validated.append(tuple((sums / len(judged)).tolist()))
    after = dict(zip(NAMES, (weight.detach() for weight in others), strict=True))
    return {"losses": losses, "validation": validated, "weights": {"embedding": embedding, **after}}
