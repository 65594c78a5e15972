"""From the language model to a classifier: which package of the standard library does a docstring come from?

Eight packages, a few hundred docstrings that no bundled model was trained on, cut into pieces of 96 bytes. A
docstring lies on one side of the split only: pieces of one text in both would be a leak.
"""

import functools
import json
import lzma
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from week08_compress_models import language_model as lm

FILE = lm.FOLDER / "labelled.json.xz"
RECORD = lm.FOLDER.parent / "bench" / "transfer.json"
PACKAGES = ("tkinter", "_pydecimal.py", "asyncio", "distutils", "email", "xml", "importlib", "logging")
LENGTH = 96
SIZES = (16, 64, 256)
"""Numbers of labelled pieces to learn from."""
JUDGED = 240


@dataclass(frozen=True)
class Pieces:
    """Pieces of text (n, LENGTH) int64, zeros behind the end, and the number of the package for each, (n,)."""

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Tensor:
        """The places of the first `count` pieces, as many of each package; pieces lie sorted by package."""
        each, own = count // len(PACKAGES), len(self) // len(PACKAGES)
        return (torch.arange(len(PACKAGES))[:, None] * own + torch.arange(each)).flatten()

    def texts(self) -> list[str]:
        """The pieces as text; bytes that are not ASCII become "?"."""
        return [bytes(b for b in row if b).decode("ascii", "replace") for row in self.tokens.tolist()]


def _cut(rows: list[tuple[int, str]]) -> Pieces:
    tokens, labels = [], []
    for label, text in rows:
        raw = text.encode()
        for start in range(0, max(1, len(raw) - LENGTH // 2), LENGTH):
            piece = raw[start : start + LENGTH]
            tokens.append(list(piece) + [0] * (LENGTH - len(piece)))
            labels.append(label)
    return Pieces(torch.tensor(tokens), torch.tensor(labels))


@functools.cache
def split() -> tuple[Pieces, Pieces]:
    """All pieces to learn from and those that judge; the same split, by docstring, on every machine."""
    rows = json.loads(lzma.decompress(FILE.read_bytes()))
    order = np.random.default_rng(0).permutation(len(rows))
    third = len(rows) // 3
    train, test = (_cut([rows[i] for i in part]) for part in (order[third:], order[:third]))
    return train, Pieces(test.tokens[:JUDGED], test.labels[:JUDGED])


def labelled(count: int, seed: int) -> Pieces:
    """`count` pieces to learn from, as many of each package, drawn by `seed`."""
    everything, _ = split()
    generator = np.random.default_rng(seed)
    each = count // len(PACKAGES)
    picks = [
        generator.choice(np.flatnonzero(everything.labels.numpy() == label), each, replace=False)
        for label in range(len(PACKAGES))
    ]
    places = torch.from_numpy(np.concatenate(picks))
    return Pieces(everything.tokens[places], everything.labels[places])


def states(model: lm.LanguageModel, tokens: Tensor) -> list[Tensor]:
    """What each block hands to the next, (n, tokens, width) each."""
    x, found = model.embedding(tokens), []
    for block in model.blocks:
        x = block(x)
        found.append(x)
    return found


@torch.no_grad()
def features(model: lm.LanguageModel, tokens: Tensor) -> Tensor:
    """One vector for a piece: the mean of each block's states over the bytes that are there; (n, blocks · width)."""
    there = (tokens != 0).float()[:, :, None]
    return torch.cat([(x * there).sum(1) / there.sum(1) for x in states(model, tokens)], 1)


def probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Share of test vectors that a linear classifier on the frozen features gets right."""
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    scaler = StandardScaler().fit(train[0].numpy())
    linear = LinearSVC(C=1e-3).fit(scaler.transform(train[0].numpy()), train[1].numpy())
    return float(linear.score(scaler.transform(test[0].numpy()), test[1].numpy()))


def by_letters(train: Pieces, test: Pieces) -> float:
    """What one would do without any network: counts of runs of 2 to 4 letters, and a linear classifier."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    linear = LinearSVC(C=1).fit(vectors.fit_transform(train.texts()), train.labels.numpy())
    return float(linear.score(vectors.transform(test.texts()), test.labels.numpy()))


class Classifier(nn.Module):
    """The model, the mean of its states, and a linear layer on it: all of it learns."""

    def __init__(self, model: lm.LanguageModel):
        super().__init__()
        self.model, self.head = model, nn.Linear(model.config.width, len(PACKAGES))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, LENGTH) int64 to (n, packages)."""
        there = (tokens != 0).float()[:, :, None]
        last = self.model.norm(states(self.model, tokens)[-1])
        return self.head((last * there).sum(1) / there.sum(1))


def tuned(
    model: lm.LanguageModel, train: Pieces, test: Pieces, seed: int, steps: int = 40, peak: float = 1e-3
) -> float:
    """Share right after all weights have learned from the labelled pieces, as many steps for any number of them.

    `model` is changed.
    """
    classifier = Classifier(model).train()
    # The head begins at zero and has far to go; the body is where it should be, or nearly.
    parts = [
        {"params": classifier.model.parameters(), "peak": peak},
        {"params": classifier.head.parameters(), "peak": 10 * peak},
    ]
    optimizer = torch.optim.AdamW(parts, lr=peak, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / 5) * (1 - step / steps)
        picks = torch.randperm(len(train), generator=generator)[:32]
        loss = F.cross_entropy(classifier(train.tokens[picks]), train.labels[picks])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        found = torch.cat([classifier(part).argmax(1) for part in test.tokens.split(128)])
    return float((found == test.labels).float().mean())


def learned(model: lm.LanguageModel, seed: int) -> list[float]:
    """Share right with a linear probe on the frozen model, for each of SIZES; smaller samples lie in larger ones."""
    _, test = split()
    most = labelled(max(SIZES), seed)
    known, judge = features(model, most.tokens), (features(model, test.tokens), test.labels)
    return [probe((known[first], most.labels[first]), judge) for first in map(most.first, SIZES)]


def counted(seed: int) -> list[float]:
    """The same samples for :func:`by_letters`."""
    _, test = split()
    most = labelled(max(SIZES), seed)
    return [by_letters(Pieces(most.tokens[f], most.labels[f]), test) for f in map(most.first, SIZES)]


@functools.cache
def recorded(way: str) -> np.ndarray:
    """What `bench/transfer.json` holds of all weights "tuned", or trained "from nothing": (seeds, SIZES)."""
    found = json.loads(RECORD.read_text())[way]
    return np.array([found[seed] for seed in sorted(found)])
