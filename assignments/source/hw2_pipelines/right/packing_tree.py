# replaces: packing.py
# method: first fit through a tree of the largest room; rows joined with cat; masks block by block
import torch


def first_fit_decreasing(lengths, capacity):
    order = sorted((-length, index) for index, length in enumerate(lengths) if length <= capacity)
    size = 1
    while size < len(order):
        size *= 2
    room = [capacity] * (2 * size)
    rows = [[] for _ in order]
    for minus, index in order:
        node = 1
        while node < size:
            node = 2 * node if room[2 * node] >= -minus else 2 * node + 1
        rows[node - size].append(index)
        room[node] += minus
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return [row for row in rows if row]


def pack(sequences, rows, capacity, pad=0):
    columns = {"tokens": [], "segments": [], "positions": [], "targets": []}
    for row in rows:
        parts = [torch.tensor(sequences[index], dtype=torch.int64) for index in row]
        rest = capacity - sum(map(len, parts))
        columns["tokens"].append(torch.cat([*parts, torch.full((rest,), pad)]))
        numbers = [torch.full((len(part),), number) for number, part in enumerate(parts, 1)]
        columns["segments"].append(torch.cat([*numbers, torch.zeros(rest, dtype=torch.int64)]))
        places = [torch.arange(len(part)) for part in parts]
        columns["positions"].append(torch.cat([*places, torch.zeros(rest, dtype=torch.int64)]))
        targets = [torch.cat([part[1:], torch.tensor([-100])]) for part in parts]
        columns["targets"].append(torch.cat([*targets, torch.full((rest,), -100)]))
    return {name: torch.stack(column) for name, column in columns.items()}


def block_diagonal_mask(segments):
    masks = []
    for row in segments:
        counts = row[row > 0].bincount()[1:].tolist()
        blocks = [torch.ones(count, count).tril() for count in counts]
        rest = len(row) - sum(counts)
        masks.append(torch.block_diag(*blocks, torch.eye(rest)).bool())
    return torch.stack(masks)
