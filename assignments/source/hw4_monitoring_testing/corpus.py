"""Texts on their way to the model: tokens, two sides that share nothing, orders, and batches."""

import torch

PAD, END, FIRST = 0, 1, 2
"""Tokens: padding, the end of a text, and the byte 0; the byte b is the token b + 2."""
WORDS = 258
IGNORED = -100
"""The target of a position from which nothing is to be learnt."""


def encode(text: str) -> torch.Tensor:
    """Return the bytes of a text in UTF-8 as tokens, and END behind them: int64, [bytes + 1]."""
    return torch.tensor([byte + FIRST for byte in text.encode("utf-8")] + [END])


def decode(tokens: torch.Tensor) -> str:
    """Return the text of the tokens before the first END, or of all; PAD says nothing, broken UTF-8 is U+FFFD."""
    data = bytearray()
    for token in tokens.tolist():
        if token == END:
            break
        if token != PAD:
            data.append(token - FIRST)
    return data.decode("utf-8", errors="replace")


def split(documents: list[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Return the documents for training and those for validation, both in the order in which they came.

    No text lies on both sides: `round(share * n)` of the n different texts are drawn for validation, with all their
    copies. `seed` determines which. Raises ValueError where `share` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must lie between 0 and 1")
    generator = torch.Generator().manual_seed(seed)
    ### BEGIN SOLUTION
    texts = list(dict.fromkeys(documents))
    drawn = torch.randperm(len(texts), generator=generator)[: round(share * len(texts))]
    kept = {texts[index] for index in drawn.tolist()}
    train = [text for text in documents if text not in kept]
    return train, [text for text in documents if text in kept]
    ### GIVEN
    # drawn = torch.randperm(len(documents), generator=generator)[: round(share * len(documents))]
    # kept = set(drawn.tolist())
    # train = [text for index, text in enumerate(documents) if index not in kept]
    # return train, [text for index, text in enumerate(documents) if index in kept]
    ### END SOLUTION


def order(count: int, epoch: int, seed: int) -> list[int]:
    """Return the numbers 0 .. count - 1 in a random order that `seed` and `epoch` determine, and nothing else.

    Every epoch has an order of its own.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator).tolist()


def shard(indices: list[int], rank: int, world: int) -> list[int]:
    """Return what rank `rank` of `world` takes of `indices`, in their order.

    Each lies on exactly one rank, and no rank takes two more than another. Raises ValueError for a rank that is none.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} is not one of {world}")
    return indices[rank::world]


def collate(sequences: list[torch.Tensor], most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens and targets of a batch, int64, both [sequences, length]: the target is the next token.

    `length` is that of the longest sequence less one, and `most` at the most: what is longer loses its end. Behind
    the end of a sequence stand PAD as token and IGNORED as target. Raises ValueError for a sequence of fewer than two
    tokens, which has no target.
    """
    if any(len(sequence) < 2 for sequence in sequences):
        raise ValueError("a sequence of fewer than two tokens has no target")
    length = min(most, max(len(sequence) for sequence in sequences) - 1)
    tokens = torch.full((len(sequences), length), PAD)
    ### BEGIN SOLUTION
    targets = torch.full((len(sequences), length), IGNORED)
    ### GIVEN
    # targets = torch.full((len(sequences), length), PAD)
    ### END SOLUTION
    for row, sequence in enumerate(sequences):
        kept = sequence[: length + 1]
        tokens[row, : len(kept) - 1] = kept[:-1]
        targets[row, : len(kept) - 1] = kept[1:]
    return tokens, targets
