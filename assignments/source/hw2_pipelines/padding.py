"""Sequences of different lengths in one batch: padded to a fixed length (BRAIN), or to the batch's (BIG BRAIN)."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset


class BrainDataset(Dataset):
    """Every sequence padded to `max_length`.

    `sequences` is a list of lists of token numbers, at least one token in each. A sequence of more than `max_length`
    tokens is dropped, not truncated; the others keep their order. Padding is made when an item is asked for: the
    dataset holds no padded copies.
    """

    def __init__(self, sequences: Sequence[list[int]], max_length: int = 640, pad: int = 0):
        ### BEGIN SOLUTION
        self.sequences = [sequence for sequence in sequences if len(sequence) <= max_length]
        self.max_length, self.pad = max_length, pad
        ### END SOLUTION

    def __len__(self) -> int:
        """Return the number of sequences that are left."""
        ### BEGIN SOLUTION
        return len(self.sequences)
        ### END SOLUTION

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return the tokens, int64 [max_length] with `pad` at the end, and how many of them are the sequence's."""
        ### BEGIN SOLUTION
        sequence = self.sequences[index]
        tokens = torch.full((self.max_length,), self.pad)
        tokens[: len(sequence)] = torch.tensor(sequence)
        return tokens, len(sequence)
        ### END SOLUTION


class BigBrainDataset(Dataset):
    """Sequences as they are, for `collate_fn` to pad. What is too long is dropped here too."""

    def __init__(self, sequences: Sequence[list[int]], max_length: int = 640):
        ### BEGIN SOLUTION
        self.sequences = [sequence for sequence in sequences if len(sequence) <= max_length]
        ### END SOLUTION

    def __len__(self) -> int:
        """Return the number of sequences that are left."""
        ### BEGIN SOLUTION
        return len(self.sequences)
        ### END SOLUTION

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return the tokens of a sequence, int64 [its length]."""
        ### BEGIN SOLUTION
        return torch.tensor(self.sequences[index])
        ### END SOLUTION

    def lengths(self) -> list[int]:
        """Return the length of every item, in order; makes no tensor."""
        ### BEGIN SOLUTION
        return list(map(len, self.sequences))
        ### END SOLUTION


def collate_fn(batch: list[torch.Tensor], pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return items of `BigBrainDataset` as a batch: tokens [items, longest] and lengths [items], int64."""
    ### BEGIN SOLUTION
    lengths = torch.tensor([len(tokens) for tokens in batch])
    return torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=pad), lengths
    ### END SOLUTION
