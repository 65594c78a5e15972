"""Fine-tuning and training from nothing, three seeds: `python -m week08_compress_models.bench.transfer`.

Writes `bench/transfer.json`. `... SEED WAY` adds one of them. Some two minutes on two cores.
"""

import json
import platform

import torch

from week08_compress_models import language_model as lm
from week08_compress_models import transfer
from week08_compress_models.bench.command import run


def pieces(size: int, seed: int) -> transfer.Pieces:
    """The same samples that the probe gets."""
    most = transfer.labelled(max(transfer.SIZES), seed)
    first = most.first(size)
    return transfer.Pieces(most.tokens[first], most.labels[first])


def main(seeds: list[int], ways: list[str]) -> None:
    """Add these runs to the record: from the model of seed 0 or random weights, on the samples of each seed."""
    _, test = transfer.split()
    found = json.loads(transfer.RECORD.read_text()) if transfer.RECORD.exists() else {}
    for seed in seeds:
        for way in ways:
            row = []
            for size in transfer.SIZES:
                model = lm.load(0) if way == "tuned" else lm.LanguageModel(seed=50 + seed)
                row.append(round(transfer.tuned(model, pieces(size, seed), test, seed), 4))
            print(seed, way, row, flush=True)
            found.setdefault(way, {})[str(seed)] = row
            found |= {"sizes": list(transfer.SIZES), "torch": torch.__version__}
            found |= {"python": platform.python_version()}
            transfer.RECORD.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run(main, ("tuned", "from nothing"))
