"""From raw text to the matrix that GloVe learns from: tokens, vocabulary, weighted co-occurrence counts.

Pennington, Socher & Manning, *GloVe: Global Vectors for Word Representation*, EMNLP 2014.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from effdl import data
from week02_distributed.processes import run_tasks

WINDOW = 5  # words to each side
WORD = r"[a-z]+(?:'[a-z]+)?"
_WORD = re.compile(WORD)


def corpus(name: str, megabytes: float) -> list[str]:
    """Texts of the course's own corpus ("docstrings", offline) or of Wikipedia ("wikitext", needs a network once).

    Args:
        megabytes: stop after this many million characters. Up to 10 of WikiText are a small download, more are one of
            hundreds of megabytes (Merity, Xiong, Bradbury & Socher, *Pointer Sentinel Mixture Models*, ICLR 2017).

    Raises ValueError for another name, and ConnectionError where WikiText is neither here nor within reach.
    """
    if name == "docstrings":
        return data.docstrings(megabytes)
    if name != "wikitext":
        raise ValueError(f'corpus "{name}" is not known: use "docstrings" or "wikitext"')
    part = "wikitext-2-raw-v1" if megabytes <= 10 else "wikitext-103-raw-v1"
    try:
        rows = data.load("Salesforce/wikitext", part, split="train")
    except ConnectionError as error:
        raise ConnectionError(f'{error}; or take the corpus "docstrings"') from None
    texts, size = [], 0
    for row in rows:
        if size >= megabytes * 1e6:
            break
        if row["text"].strip():  # a row is a paragraph, a heading, or the empty line between them
            texts.append(row["text"])
            size += len(row["text"])
    return texts


def tokens(text: str) -> list[str]:
    """The words of a text in lower case. Numbers, signs and code fragments such as `x_1` fall apart or away."""
    return _WORD.findall(text.lower())


def count_tokens(texts: Iterable[str]) -> Counter:
    """How often each word occurs."""
    counts = Counter()
    for text in texts:
        counts.update(tokens(text))
    return counts


def vocabulary(counts: Counter, size: int) -> dict[str, int]:
    """The `size` most frequent words with their indices, most frequent first; ties by the alphabet."""
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: index for index, word in enumerate(ranked[:size])}


def cooccurrence(texts: Iterable[str], words: dict[str, int], window: int = WINDOW) -> sparse.csr_array:
    """Weighted counts of pairs of words within `window` words of each other, inside one text.

    A pair at distance d adds 1/d, in both directions. Words outside the vocabulary keep their place: they
    count for the distance and for nothing else.

    Returns:
        A symmetric float32 matrix of shape (len(words), len(words)).
    """
    total = sparse.csr_array((len(words), len(words)), dtype=np.float64)
    for chunk in _chunks(texts, 1000):
        total = total + _chunk_counts(chunk, words, window)
    return (total + total.T).astype(np.float32).tocsr()


def _chunks(texts: Iterable[str], size: int) -> Iterable[list[str]]:
    texts = list(texts)
    return (texts[start : start + size] for start in range(0, len(texts), size))


def _chunk_counts(texts: list[str], words: dict[str, int], window: int) -> sparse.csr_array:
    """One direction only: the row is the earlier word. Duplicates are summed by the conversion to CSR."""
    ids = []
    for text in texts:
        ids += [words.get(word, -1) for word in tokens(text)]
        ids += [-1] * window  # no pair may span two texts
    ids = np.array(ids, dtype=np.int32)
    rows, columns, weights = [], [], []
    for distance in range(1, window + 1):
        first, second = ids[:-distance], ids[distance:]
        both = (first >= 0) & (second >= 0)
        rows.append(first[both])
        columns.append(second[both])
        weights.append(np.full(both.sum(), 1 / distance))
    where = (np.concatenate(rows), np.concatenate(columns))
    shape = (len(words), len(words))
    return sparse.coo_array((np.concatenate(weights), where), shape=shape).tocsr()


# ---------------------------------------------------------------------------------------------------------------
# The same on several processes
# ---------------------------------------------------------------------------------------------------------------


def shards(texts: Sequence[str], parts: int) -> list[list[str]]:
    """Every `parts`-th text, from each of `parts` starting points: sizes differ by one text at most."""
    return [list(texts[part::parts]) for part in range(parts)]


def parallel_count_tokens(texts: Sequence[str], workers: int) -> Counter:
    """`count_tokens`, each worker on its own shard; the parent adds up."""
    total = Counter()
    for counts in run_tasks(count_tokens, [(shard,) for shard in shards(texts, workers)]):
        total.update(counts)
    return total


def parallel_cooccurrence(
    texts: Sequence[str], words: dict[str, int], workers: int, window: int = WINDOW
) -> sparse.csr_array:
    """`cooccurrence` on several processes: counts are sums over texts, so the shards' matrices add up."""
    parts = run_tasks(cooccurrence, [(shard, words, window) for shard in shards(texts, workers)])
    return sum(parts[1:], start=parts[0])
