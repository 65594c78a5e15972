# replaces: padding.py
# method: keeps tensors as short as they are, pads with torch.nn.functional.pad; a batch is stacked from padded rows
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset


class BigBrainDataset(Dataset):
    def __init__(self, sequences, max_length=640):
        self.items = [torch.tensor(s, dtype=torch.int64) for s in sequences if len(s) <= max_length]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

    def lengths(self):
        return [item.numel() for item in self.items]


class BrainDataset(BigBrainDataset):
    def __init__(self, sequences, max_length=640, pad=0):
        super().__init__(sequences, max_length)
        self.width, self.pad = max_length, pad

    def __getitem__(self, index):
        item = self.items[index]
        return F.pad(item, (0, self.width - len(item)), value=self.pad), len(item)


def collate_fn(batch, pad=0):
    lengths = torch.as_tensor([item.shape[0] for item in batch])
    width = int(lengths.max())
    return torch.stack([F.pad(item, (0, width - len(item)), value=pad) for item in batch]), lengths
