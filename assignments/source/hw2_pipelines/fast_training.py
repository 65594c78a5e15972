"""The training of `checks/part3_slow.py`, with the same results and without its seven faults."""

import math

import torch
import torch.nn.functional as F
from torch import nn

### BEGIN SOLUTION


class Rows:
    """All samples of a store, read once."""

    def __init__(self, store):
        tokens, self.lengths, self.labels = store.read(0, len(store))
        self.tokens = tokens.split(self.lengths.tolist())

    def __len__(self):
        return len(self.tokens)

    def batch(self, indices):
        """Return ids padded to the longest of these samples, lengths and labels."""
        rows = [self.tokens[index] for index in indices.tolist()]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return ids, self.lengths[indices], self.labels[indices]


class Attention(nn.Module):
    """Attention of all heads and rows in one product."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.inwards = nn.Linear(width, 3 * width, bias=False)
        self.outwards = nn.Linear(width, width, bias=False)

    def forward(self, value, real, slopes):
        """Return [B, L, D] from `real` [B, L], which positions are none of padding, and `slopes` [H, L, L]."""
        parts = self.inwards(value).chunk(3, dim=-1)
        query, key, content = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        bias = slopes.masked_fill(~real[:, None, None, :], -math.inf)
        scores = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(query.shape[-1]) + bias
        return self.outwards((scores.softmax(dim=-1) @ content).transpose(1, 2).flatten(2))


class Classifier(nn.Module):
    """The classifier of the slow file, with tables that are made once for the longest sequence."""

    def __init__(self, weights, heads, longest):
        super().__init__()
        words, width = weights["embedding"].shape
        kind = weights["embedding"].dtype
        # Sparse: a step changes the rows of a batch's tokens and not the whole table.
        self.embedding = nn.Embedding(words, width, sparse=True, _weight=weights["embedding"].clone())
        self.attention = Attention(width, heads)
        self.head = nn.Linear(width, len(weights["head"]), bias=False)
        self.attention.inwards.weight = nn.Parameter(weights["inwards"].clone())
        self.attention.outwards.weight = nn.Parameter(weights["outwards"].clone())
        self.head.weight = nn.Parameter(weights["head"].clone())
        places = torch.arange(longest, dtype=torch.float64)
        angles = places[:, None] / 10_000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
        self.waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(kind)
        shares = 2.0 ** -torch.arange(heads, dtype=torch.float64)
        self.slopes = -(shares[:, None, None] * (places[:, None] - places).abs()).to(kind)

    def forward(self, ids, lengths):
        """Return the logits [B, C]."""
        size = ids.shape[1]
        real = torch.arange(size) < lengths[:, None]
        value = self.embedding(ids) + self.waves[:size]
        value = value + self.attention(value, real, self.slopes[:, :size, :size])
        return self.head((value * real[:, :, None]).sum(1) / lengths[:, None])


def descend(model, rate):
    """Make a step of plain SGD, in the embedding on the rows that have a gradient."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad.is_sparse:
                rows, values = parameter.grad._indices()[0], parameter.grad._values()
                parameter.index_add_(0, rows, values, alpha=-rate)
            else:
                parameter.sub_(parameter.grad, alpha=rate)
            parameter.grad = None


@torch.no_grad()
def validate(model, rows, batch):
    """Return the mean cross-entropy and the share of right answers over all rows."""
    total, right = 0.0, 0
    for indices in torch.arange(len(rows)).split(batch):
        ids, lengths, labels = rows.batch(indices)
        logits = model(ids, lengths)
        total += F.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
    return total / len(rows), right / len(rows)


### END SOLUTION


def train(store, validation, weights, settings):
    """Return what `train` of `checks/part3_slow.py` returns for these arguments, without its faults.

    `store` and `validation` have `len()` and `read(first, last)`, which gives tokens, lengths and labels of a range
    of samples. `weights`: embedding [V, D], inwards [3D, D], outwards [D, D], head [C, D], float32 or float64,
    which stay as they are. `settings`: "heads", "batch", "rate", and "orders" int64 [epochs, N].

    Returns {"losses": list of float, one per step, "validation": list of (loss, accuracy), one per epoch, "weights":
    as `weights`, after training}.
    """
    ### BEGIN SOLUTION
    rows, judged = Rows(store), Rows(validation)
    longest = int(max(rows.lengths.max(), judged.lengths.max()))
    model = Classifier(weights, settings["heads"], longest)
    losses, validated = [], []
    for order in settings["orders"]:
        for indices in order.split(settings["batch"]):
            ids, lengths, labels = rows.batch(indices)
            loss = F.cross_entropy(model(ids, lengths), labels)
            loss.backward()
            descend(model, settings["rate"])
            losses.append(loss.item())
        validated.append(validate(model, judged, settings["batch"]))
    trained = {
        "embedding": model.embedding.weight,
        "inwards": model.attention.inwards.weight,
        "outwards": model.attention.outwards.weight,
        "head": model.head.weight,
    }
    return {
        "losses": losses,
        "validation": validated,
        "weights": {name: weight.detach() for name, weight in trained.items()},
    }
    ### END SOLUTION
