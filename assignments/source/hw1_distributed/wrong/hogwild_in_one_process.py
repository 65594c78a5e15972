# replaces: hogwild.py
# caught by: every_entry_once_per_epoch
# mistake: trains in the calling process alone
import numpy as np


def train(tables, columns, step, *, workers, epochs, batch, seed, progress=None):
    tables = {name: table.copy() for name, table in tables.items()}
    rng, total = np.random.default_rng(seed), len(columns[0])
    for epoch in range(epochs):
        order = rng.permutation(total)
        for start in range(0, total, batch):
            step(tables, *(column[order[start : start + batch]] for column in columns))
            if progress:
                progress(epoch * total + min(total, start + batch))
    return tables
