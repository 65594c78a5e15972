"""Trains a small classifier of sequences: every number is right, and seven things make it slow or greedy.

The task of part 3 is to write `train` again in `fast_training.py`, so that it returns the same and is not. Run this
file for an example: it prints how long `train` takes. The checks compare your times with those of this very file.
"""

import math
import queue
import threading
import time

import torch
import torch.nn.functional as F
from torch import nn


class Samples:
    """Sequences of token ids, each with a label, kept in memory.

    The checks also use a store with the same two methods whose samples come over a network.
    """

    def __init__(self, tokens, lengths, labels):
        """Keep `tokens` int64 [sum of lengths], one sequence behind the other, `lengths` and `labels` int64 [N]."""
        self.tokens, self.lengths, self.labels = tokens, lengths, labels
        self.ends = lengths.cumsum(0)

    def __len__(self):
        """Return the number N of sequences."""
        return len(self.lengths)

    def read(self, first, last):
        """Return tokens, lengths and labels of the sequences first .. last-1, as `__init__` takes them."""
        lengths = self.lengths[first:last]
        begin = int(self.ends[first] - self.lengths[first]) if first < last else 0
        return self.tokens[begin : begin + int(lengths.sum())], lengths, self.labels[first:last]


class Readers:
    """Two threads that read the samples of batches ahead of the training loop."""

    def __init__(self, store, batches):
        """Read from `store` the samples of `batches`, a list of lists of indices."""
        self.store, self.count = store, len(batches)
        self.tasks, self.ready = queue.Queue(), queue.Queue()
        for task in enumerate(batches):
            self.tasks.put(task)
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def _work(self):
        while (task := self.tasks.get()) is not None:
            number, indices = task
            self.ready.put((number, [self.store.read(index, index + 1) for index in indices]))

    def __iter__(self):
        """Yield the samples of each batch, in the order of the batches."""
        early = {}
        for number in range(self.count):
            while number not in early:
                done, samples = self.ready.get()
                early[done] = samples
            yield early.pop(number)

    def close(self):
        """End both threads."""
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join()


def collate(samples, longest):
    """Return ids [B, longest] padded with 0, lengths [B] and labels [B] of a list of samples."""
    ids = torch.zeros(len(samples), longest, dtype=torch.int64)
    for row, (tokens, _, _) in enumerate(samples):
        ids[row, : len(tokens)] = tokens
    return (
        ids,
        torch.cat([lengths for _, lengths, _ in samples]),
        torch.cat([labels for _, _, labels in samples]),
    )


class Positions(nn.Module):
    """Adds sine and cosine waves of the position (Vaswani et al. 2017)."""

    def forward(self, value):
        """Return value [B, L, D] plus the table of waves [L, D]; D is even."""
        length, width = value.shape[1:]
        table = []
        for position in range(length):
            row = []
            for column in range(0, width, 2):
                angle = position / 10_000 ** (column / width)
                row += [math.sin(angle), math.cos(angle)]
            table.append(row)
        return value + torch.tensor(table, dtype=value.dtype)


class Attention(nn.Module):
    """Attention in which head h prefers near positions: its scores fall by 2^-h per step of distance.

    That is the bias of Press, Smith & Lewis (2022), here in both directions.
    """

    def __init__(self, width, heads):
        """Make the projections for `heads` heads of `width / heads` columns each."""
        super().__init__()
        self.heads = heads
        self.inwards = nn.Linear(width, 3 * width, bias=False)  # queries, keys and values
        self.outwards = nn.Linear(width, width, bias=False)

    def forward(self, value, lengths):
        """Return [B, L, D]; nobody attends to positions from `lengths` [B] on."""
        rows, length, width = value.shape
        distances = []
        for query in range(length):
            distances.append([abs(query - key) for key in range(length)])
        distances = torch.tensor(distances, dtype=value.dtype)
        queries, keys, values = self.inwards(value).chunk(3, dim=-1)
        size = width // self.heads
        mixed = []
        for row in range(rows):
            padding = torch.arange(length) >= lengths[row]
            heads = []
            for head in range(self.heads):
                columns = slice(head * size, (head + 1) * size)
                scores = queries[row, :, columns] @ keys[row, :, columns].t() / math.sqrt(size)
                scores = scores - distances * 2.0**-head
                scores = scores.masked_fill(padding, -math.inf)
                heads.append(scores.softmax(dim=-1) @ values[row, :, columns])
            mixed.append(torch.cat(heads, dim=-1))
        return self.outwards(torch.stack(mixed))


class Classifier(nn.Module):
    """Embedding, positions, attention with a residual connection, mean over the sequence, linear layer."""

    def __init__(self, weights, heads):
        """Take copies of `weights`: embedding [V, D], inwards [3D, D], outwards [D, D], head [C, D]."""
        super().__init__()
        words, width = weights["embedding"].shape
        self.embedding = nn.Embedding(words, width, _weight=weights["embedding"].clone())
        self.positions = Positions()
        self.attention = Attention(width, heads)
        self.head = nn.Linear(width, len(weights["head"]), bias=False)
        self.attention.inwards.weight = nn.Parameter(weights["inwards"].clone())
        self.attention.outwards.weight = nn.Parameter(weights["outwards"].clone())
        self.head.weight = nn.Parameter(weights["head"].clone())

    def forward(self, ids, lengths):
        """Return the logits [B, C] of ids [B, L], of which the first `lengths` [B] in each row count."""
        value = self.positions(self.embedding(ids))
        value = value + self.attention(value, lengths)
        real = torch.arange(ids.shape[1]) < lengths[:, None]
        pooled = (value * real[:, :, None]).sum(1) / lengths[:, None]
        return self.head(pooled)


def train(store, validation, weights, settings):
    """Train with plain SGD; return what came of it, in the dtype of `weights`.

    `store` and `validation` have the methods of `Samples`. `weights` are those of `Classifier`, and stay as they
    are. `settings` has "heads", "batch" (rows in a batch; the last of an epoch may be smaller), "rate" (of learning),
    and "orders" int64 [epochs, N]: the samples of each epoch in the order in which they are trained on.

    Returns a dictionary: "losses", a list with the mean cross-entropy of each training batch; "validation", a
    list with a pair (mean cross-entropy, share of right answers) over all samples of `validation` after each epoch;
    "weights", a dictionary as `weights`.
    """
    model = Classifier(weights, settings["heads"])
    batch, rate = settings["batch"], settings["rate"]
    longest = max(int(store.read(index, index + 1)[1]) for index in range(len(store)))
    losses, validated, readers = [], [], []
    for order in settings["orders"]:
        batches = [part.tolist() for part in order.split(batch)]
        readers.append(Readers(store, batches))
        for samples in readers[-1]:
            ids, lengths, labels = collate(samples, longest)
            loss = F.cross_entropy(model(ids, lengths), labels)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= rate * parameter.grad
            losses.append(loss.item())
        validated.append(validate(model, validation, batch))
    for reader in readers:
        reader.close()
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


def validate(model, store, batch):
    """Return the mean cross-entropy and the share of right answers over all samples of `store`."""
    total, right = 0, 0
    for first in range(0, len(store), batch):
        last = min(first + batch, len(store))
        samples = [store.read(index, index + 1) for index in range(first, last)]
        ids, lengths, labels = collate(samples, max(int(lengths) for _, lengths, _ in samples))
        logits = model(ids, lengths)
        total = total + F.cross_entropy(logits, labels, reduction="sum")
        right = right + (logits.argmax(1) == labels).sum()
    return (total / len(store)).item(), (right / len(store)).item()


def on_case(case):
    """Train on a case as the checks send it; of the embedding, return the rows `shown` only.

    "train" and "validation" are arguments of `Samples`. The embedding is "table" [K, D], again and again, up to
    "words" rows, so that a large one need not be sent.
    """
    embedding = case["table"].repeat(-(-case["words"] // len(case["table"])), 1)[: case["words"]]
    weights = {**case["weights"], "embedding": embedding}
    result = train(Samples(*case["train"]), Samples(*case["validation"]), weights, case["settings"])
    result["weights"]["embedding"] = result["weights"]["embedding"][case["shown"]]
    return result


def example(words=50_000, width=16, classes=5, heads=4, samples=160, epochs=2, batch=16):
    """Return four arguments for `train`: short sequences, and one long one to train on."""
    draw = torch.Generator().manual_seed(0)

    def some(longest):
        lengths = torch.randint(8, 40, (samples,), generator=draw)
        lengths[0] = longest
        labels = torch.randint(classes, (samples,), generator=draw)
        return Samples(torch.randint(words, (int(lengths.sum()),), generator=draw), lengths, labels)

    shapes = {"embedding": (words, width), "inwards": (3 * width, width), "outwards": (width, width)}
    shapes["head"] = (classes, width)
    weights = {name: 0.3 * torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    orders = torch.stack([torch.randperm(samples, generator=draw) for _ in range(epochs)])
    return some(160), some(40), weights, {"heads": heads, "batch": batch, "rate": 0.1, "orders": orders}


if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = example()
    begin = time.perf_counter()
    result = train(*arguments)
    print(
        f"{time.perf_counter() - begin:.2f} s; last loss {result['losses'][-1]:.6f}, {result['validation']}"
    )
