# replaces: padding.py
# method: all tokens in one flat array with offsets; rows are filled through a mask of places
import numpy as np
import torch
from torch.utils.data import Dataset


class _Flat(Dataset):
    def __init__(self, sequences, max_length):
        kept = [s for s in sequences if not len(s) > max_length]
        self.ends = np.cumsum([0] + [len(s) for s in kept])
        self.flat = np.fromiter((token for s in kept for token in s), dtype=np.int64)

    def __len__(self):
        return len(self.ends) - 1

    def row(self, index):
        return torch.from_numpy(self.flat[self.ends[index] : self.ends[index + 1]].copy())


class BrainDataset(_Flat):
    def __init__(self, sequences, max_length=640, pad=0):
        super().__init__(sequences, max_length)
        self.max_length, self.pad = max_length, pad

    def __getitem__(self, index):
        row = self.row(index)
        return torch.cat([row, row.new_full((self.max_length - len(row),), self.pad)]), len(row)


class BigBrainDataset(_Flat):
    def __init__(self, sequences, max_length=640):
        super().__init__(sequences, max_length)

    def __getitem__(self, index):
        return self.row(index)

    def lengths(self):
        return np.diff(self.ends).tolist()


def collate_fn(batch, pad=0):
    lengths = torch.tensor([len(row) for row in batch], dtype=torch.int64)
    inside = torch.arange(max(map(len, batch)))[None] < lengths[:, None]
    tokens = torch.full(inside.shape, pad, dtype=torch.int64)
    tokens[inside] = torch.cat(batch)
    return tokens, lengths
