# replaces: speculative.py
# method: all places at once; how many stay is a cumulative product, and the next row is chosen by that number
import torch


def verify(draft, draft_chances, target_chances, generator=None):
    k = len(draft)
    at = torch.arange(k)
    ratio = target_chances[at, draft] / draft_chances[at, draft]
    stays = (torch.rand(k, generator=generator, dtype=ratio.dtype) < ratio).long().cumprod(0)
    number = int(stays.sum())
    row = target_chances[number]
    if number < k:
        row = torch.relu(row - draft_chances[number])
    return [*draft[:number].tolist(), torch.multinomial(row, 1, generator=generator).item()]
